# syntax=docker/dockerfile:1
# Countersign from source, in an image that holds nothing but the program: every part of it,
# chosen by the command. deploy/image/pack makes the same image of a binary that is built already;
# scheduler/Dockerfile is the recipe for the scheduler alone.
#
#   docker build --build-arg COUNTERSIGN_COMMIT="$(git log -1 --format='%h %cs')" -t countersign .
FROM rust:1.95.0-bookworm AS build
# This one, and not the newest, which rust-toolchain.toml asks for.
ENV RUSTUP_TOOLCHAIN=1.95.0
# The C compiler is for SQLite and for the cryptography of TLS. musl: linked statically, so the
# image needs no C library.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
    && rm -rf /var/lib/apt/lists/*
RUN rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /src
COPY . .
ARG COUNTERSIGN_COMMIT=
# The profile of Cargo; `dev` compiles in a third of the time.
ARG PROFILE=release
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    target=$(uname -m)-unknown-linux-musl \
    && cargo build --profile "$PROFILE" --locked --target "$target" --bin countersign \
    && folder=$PROFILE && if [ "$PROFILE" = dev ]; then folder=debug; fi \
    && install -D "target/$target/$folder/countersign" /image/usr/local/bin/countersign \
    && strip /image/usr/local/bin/countersign \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 0700 /volume/data

FROM scratch
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A server-side TOTP authenticator with durable enrollment and approval" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /volume/ /
ENV COUNTERSIGN_DATA_DIR=/data \
    COUNTERSIGN_LISTEN=0.0.0.0:7071 \
    COUNTERSIGN_LOG_FORMAT=json
# Everything that is written is written here, so the root file system can be read-only.
VOLUME /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/countersign"]
EXPOSE 7071
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=6 \
    CMD ["/usr/local/bin/countersign", "health"]
CMD ["front-door"]
