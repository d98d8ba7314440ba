# Countersign in a container: one image for every part, without shell, package manager or
# root. scheduler/Dockerfile is the recipe for the scheduler alone.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin countersign \
    && install -D target/release/countersign /out/countersign \
    && install -d -m 0700 -o 65532 -g 65532 /out/data

FROM gcr.io/distroless/cc-debian12:nonroot
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A server-side TOTP authenticator with durable enrollment and approval" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /out/countersign /usr/local/bin/countersign
COPY --from=build --chown=65532:65532 /out/data /data
ENV COUNTERSIGN_DATA_DIR=/data \
    COUNTERSIGN_LISTEN=0.0.0.0:7071 \
    COUNTERSIGN_LOG_FORMAT=json
# Everything that is written is written here, so the root file system can be read-only.
VOLUME /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/countersign"]
EXPOSE 7071
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=6 \
    CMD ["/usr/local/bin/countersign", "health"]
CMD ["front-door"]
