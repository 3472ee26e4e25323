FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
# Line tables are for profiling on a developer's machine; the image does without.
ENV CARGO_PROFILE_RELEASE_DEBUG=0 CARGO_PROFILE_RELEASE_STRIP=symbols
RUN cargo build --release --locked -p turno-cli -p gallery

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
COPY --from=build /src/target/release/turno /src/target/release/gallery /usr/local/bin/
ENTRYPOINT ["gallery"]

# The last stage is what `docker build` makes: every role of the mesh in one binary.
FROM runtime AS turno
COPY --from=build /src/target/release/turno /usr/local/bin/turno
ENTRYPOINT ["turno"]
CMD ["--help"]
