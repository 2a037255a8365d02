# callbox as an image: one static binary in an empty file system (no shell, no C library, no package manager).
#
#   docker build --tag callbox .                                              for the processor of this machine
#   docker build --platform linux/arm64 --tag callbox .                       for the other one
#   docker buildx build --platform linux/amd64,linux/arm64 --tag callbox .    for both, as one image
#
# Nothing is emulated: what runs here runs on this machine's processor, and the compiler compiles for the other one.
# Needs BuildKit, the default builder since Docker 23 (before: DOCKER_BUILDKIT=1). Arguments:
#   BUILDER   the image to build in, such as a mirror's copy or a digest: BUILDER=rust@sha256:...
#   BINARY    an image with a static binary at /callbox, taken instead of compiling one here
#   PROFILE   how it is compiled: release, or trial, which is slower and compiled in a third of the time
#   VERSION, REVISION, CREATED   for the labels

ARG BUILDER=rust:1.95.0-slim-bookworm
ARG BINARY=compiled

FROM --platform=${BUILDPLATFORM} ${BUILDER} AS compiled
ARG BUILDARCH
ARG TARGETARCH
# What compiling for another processor takes: a linker that also compiles C, the C library to link with, and Rust's own.
RUN set -e; \
    if [ "$TARGETARCH" = "$BUILDARCH" ]; then rustc --print host-tuple >/triple; exit; fi; \
    case $TARGETARCH in \
      amd64) machine=x86_64 packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
      arm64) machine=aarch64 packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
      *) echo "for $TARGETARCH this has to be built on $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    echo "$machine-unknown-linux-gnu" | tee /triple; \
    printf '[target.%s]\nlinker = "%s"\n' "$(cat /triple)" "$machine-linux-gnu-gcc" >>"$CARGO_HOME/config.toml"; \
    command -v "$machine-linux-gnu-gcc" >/dev/null \
    || { apt-get update; apt-get install --yes --no-install-recommends $packages; rm -rf /var/lib/apt/lists/*; }; \
    test -d "$(rustc --print sysroot)/lib/rustlib/$(cat /triple)" || rustup target add "$(cat /triple)"
WORKDIR /source
COPY . .
ARG PROFILE=release
# Static, so that the image needs no C library. The caches outlive the build: the next one compiles what has changed. They are
# kept apart by processor, so that two can be built for at a time.
RUN --mount=type=cache,id=callbox-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=callbox-target-${TARGETARCH},target=/source/target,sharing=locked \
    triple=$(cat /triple) \
 && RUSTFLAGS='-C target-feature=+crt-static -C strip=symbols' \
    cargo build --locked --profile "$PROFILE" --target "$triple" --bin callbox \
 && install -D "target/$triple/$PROFILE/callbox" /callbox

FROM ${BINARY} AS binary

FROM --platform=${BUILDPLATFORM} ${BUILDER} AS files
RUN command -v setcap >/dev/null \
 || { apt-get update && apt-get install --yes --no-install-recommends libcap2-bin && rm -rf /var/lib/apt/lists/*; }
COPY --from=binary /callbox /image/usr/local/bin/callbox
# The user below may bind 443 and 80: an ambient capability does not survive Docker's change of user, one that belongs to the
# file does. The container still needs NET_BIND_SERVICE in its bounding set, which is Docker's default.
RUN setcap cap_net_bind_service=+ep /image/usr/local/bin/callbox \
 && mkdir --mode=700 /state

FROM scratch
ARG VERSION=0.1.0
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="callbox" \
      org.opencontainers.image.description="Browser calls from one process: HTTPS front door, WebSocket signaling, STUN/TURN and a calling page" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.documentation="/docs/deploy.md in the source" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Layer 1: the program. It carries its pages, its root certificates and its C library.
COPY --from=files /image /
# Layer 2, without content: a new volume takes owner and mode from here, and only so can an ordinary user write to it.
COPY --from=files --chown=65532:65532 /state /var/lib/callbox
ENV CALLBOX_STATE_DIR=/var/lib/callbox
VOLUME /var/lib/callbox
EXPOSE 443/tcp 80/tcp 3478/tcp 3478/udp
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks /readyz of the admin listener. A start takes milliseconds, so the first question comes early.
HEALTHCHECK --interval=15s --timeout=6s --start-period=5s --retries=3 CMD ["/usr/local/bin/callbox", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/callbox"]
CMD ["serve"]
