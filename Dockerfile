FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --profile dist --locked -p turno-cli -p gallery

FROM debian:bookworm-slim AS runtime
# For the HTTPS of turno.io.v1.Http.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home turno \
    && install --directory --owner turno /data
USER turno
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=3 CMD ["turno", "health"]

# The tutorial's own service, as a node.
FROM runtime AS gallery
COPY --from=build /src/target/dist/turno /src/target/dist/gallery /usr/local/bin/
ENTRYPOINT ["gallery"]

# The last stage is what `docker build` makes: every role of the mesh in one binary.
FROM runtime AS turno
COPY --from=build /src/target/dist/turno /usr/local/bin/turno
ENTRYPOINT ["turno"]
CMD ["--help"]
