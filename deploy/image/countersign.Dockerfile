# Countersign in an image that holds nothing but the program: every part of it, chosen by the
# command. deploy/image/pack fills in the version and makes rootfs.tar.
FROM scratch
LABEL org.opencontainers.image.title="Countersign" \
      org.opencontainers.image.description="A server-side TOTP authenticator with durable enrollment and approval" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="@VERSION@" \
      org.opencontainers.image.revision="@REVISION@"
ADD rootfs.tar /
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
