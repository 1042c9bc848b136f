# The server with all backends, Kafka over SASL and TLS included: docker build -t evs-server .
FROM rust:1.94-bookworm AS build
# librdkafka is built from source; SASL and TLS need these headers.
RUN apt-get update && apt-get install -y --no-install-recommends cmake libsasl2-dev libssl-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p evs-server -p evs --features evs-server/kafka-ssl \
    && cp target/release/evs-server target/release/evs /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libsasl2-2 libsasl2-modules libssl3 \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 --home-dir /var/lib/evs --create-home evs
COPY --from=build /usr/local/bin/evs-server /usr/local/bin/evs /usr/local/bin/
USER evs
# The embedded store, where no other is named, lies here: mount a volume on it.
WORKDIR /var/lib/evs
EXPOSE 8001 8002 8003
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["evs-server", "healthcheck"]
ENTRYPOINT ["evs-server"]
