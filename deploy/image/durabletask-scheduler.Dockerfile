# durabletask-scheduler in an image that holds nothing but the program. deploy/image/pack fills in
# the version and makes rootfs.tar.
FROM scratch
LABEL org.opencontainers.image.title="durabletask-scheduler" \
      org.opencontainers.image.description="A durable scheduler that speaks the protocol of the Durable Task Scheduler" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="@VERSION@" \
      org.opencontainers.image.revision="@REVISION@"
ADD rootfs.tar /
# Inside the container every address is the container's own; who reaches it is decided by the
# ports that are published. Publish them to 127.0.0.1 or to a private network, or mount tokens and
# a certificate and set DURABLETASK_TOKEN_FILE, DURABLETASK_TLS_CERT and DURABLETASK_TLS_KEY.
ENV DURABLETASK_LISTEN=0.0.0.0:8080 \
    DURABLETASK_DASHBOARD=0.0.0.0:8082 \
    DURABLETASK_ALLOW_REMOTE=true \
    DURABLETASK_DATA_DIR=/data
VOLUME /data
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/durabletask-scheduler"]
EXPOSE 8080 8082
STOPSIGNAL SIGTERM
