# syntax=docker/dockerfile:1
# A small image of the program: `docker build -t didit-sync .`
#
# The ledger is kept in the volume /ledger, manifests are read from the working folder /manifests:
#   docker run --rm -e DIDIT_API_KEY -v ./manifests:/manifests:ro -v didit-ledger:/ledger didit-sync apply . --yes
#
# The volume has to be a disk of this machine: a ledger on a network file system is refused. Until there is a ledger, leave
# DIDIT_SYNC_REQUIRE_LEDGER out; afterwards set it, so that a volume that got lost is noticed (exit 12).
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY templates templates
# Cargo names them; they are not built.
COPY benches benches
COPY tests/main.rs tests/main.rs
RUN cargo build --profile dist --locked --bin didit-sync && mkdir -m 0700 /ledger

# Certificates, glibc and libgcc, and no shell; the user nonroot is 65532.
FROM gcr.io/distroless/cc-debian12:nonroot AS run
LABEL org.opencontainers.image.title="didit-sync" \
      org.opencontainers.image.description="Declarative batch import and reconciliation of shared Didit verifications" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /src/target/dist/didit-sync /usr/local/bin/didit-sync
COPY --from=build --chown=65532:65532 /ledger /ledger
ENV DIDIT_SYNC_LEDGER=/ledger/ledger.db \
    DIDIT_SYNC_PROGRESS=plain
VOLUME /ledger
WORKDIR /manifests
USER 65532:65532
# SIGTERM records what is in flight; give `docker stop` longer than --grace (10 s): `--stop-timeout 45`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/didit-sync"]
CMD ["--help"]
