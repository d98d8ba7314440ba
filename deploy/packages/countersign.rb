# The release workflow fills in the address and the digest of the source archive. It builds from
# source, so that it works on macOS too.
class Countersign < Formula
  desc "Server-side TOTP authenticator for teams, with durable enrollment and approval"
  homepage "@HOMEPAGE@"
  url "@SOURCE@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license "MIT"

  depends_on "rust" => :build

  def install
    ENV["COUNTERSIGN_COMMIT"] = "@COMMIT@"
    system "cargo", "install", *std_cargo_args
    generate_completions_from_executable(bin/"countersign", "completions")
    system bin/"countersign", "man", "--output", buildpath/"man"
    man1.install Dir["man/*.1"]
  end

  service do
    run [opt_bin/"countersign", "serve", "--data-dir", var/"countersign"]
    keep_alive crashed: true
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/countersign --version")
    assert_match "MIT", shell_output("#{bin}/countersign licenses")
  end
end
