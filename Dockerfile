# The server with all backends, Kafka over SASL and TLS included: docker build -t evs-server .
# The version of rust-toolchain.toml.
FROM rust:1.95-bookworm AS build
# librdkafka is built from source; TLS and SCRAM to Kafka need these headers. Kerberos is not built in.
RUN apt-get update && apt-get install -y --no-install-recommends libssl-dev pkg-config && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked -p evs-server -p evs --features evs-server/kafka-ssl,evs/kafka-ssl \
    && cp target/release/evs-server target/release/evs /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libssl3 \
    && rm -rf /var/lib/apt/lists/* && useradd --system --uid 10001 --home-dir /var/lib/evs --create-home evs
COPY --from=build /usr/local/bin/evs-server /usr/local/bin/evs /usr/local/bin/
USER evs
# The embedded store, where no other is named, lies here: mount a volume on it.
WORKDIR /var/lib/evs
EXPOSE 8001 8002 8003
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["evs-server", "healthcheck"]
ENTRYPOINT ["evs-server"]
