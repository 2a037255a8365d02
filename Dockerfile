# callbox as an image: the binary, the C library it is linked with, and nothing else (no shell, no package manager).
# Needs BuildKit, which is the default builder since Docker 23 (before: DOCKER_BUILDKIT=1).

ARG BUILDER=rust:1-slim-bookworm

FROM ${BUILDER} AS build
WORKDIR /source
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libcap2-bin \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked --bin callbox \
 && install -D target/release/callbox /image/usr/local/bin/callbox
# The user below may bind 443, 80 and 3478: an ambient capability does not survive Docker's change of user, one that
# belongs to the file does. The container still needs NET_BIND_SERVICE in its bounding set, which is Docker's default.
RUN setcap cap_net_bind_service=+ep /image/usr/local/bin/callbox \
 && ldd /image/usr/local/bin/callbox | grep --only-matching '/[^ ]*' | xargs cp --dereference --parents --target-directory=/image \
 && mkdir --parents --mode=700 /state/callbox

FROM scratch
COPY --from=build /image /
COPY --from=build --chown=65532:65532 /state /var/lib
ENV CALLBOX_STATE_DIR=/var/lib/callbox
VOLUME /var/lib/callbox
EXPOSE 443/tcp 80/tcp 3478/tcp 3478/udp
USER 65532:65532
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/callbox"]
CMD ["serve"]
