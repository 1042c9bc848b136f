//! `/asyncapi.json`: the stream protocol as AsyncAPI 3, made of the frames' own types.

use evs_api::frames::{ClientFrame, CloseCode, SUBPROTOCOL, ServerFrame};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// The query of `/ws/{subscriber}` and `/sse/{subscriber}`, as docs/PROTOCOL.md describes it.
const QUERY: [(&str, &str); 7] = [
    ("consumer", "whose position is used and moved; `default` if absent"),
    ("observe", "`true`: reads, and never acks"),
    ("cursor", "goes on after this cursor"),
    ("from", "`latest` or `earliest`"),
    ("since", "backfill from the event log: `10m`, RFC 3339, or `beginning`"),
    ("where", "a further condition"),
    ("ticket", "a single-use ticket, where no header can be sent"),
];

/// The document.
#[must_use]
pub fn document() -> Value {
    let (sent, heard) = (frames::<ServerFrame>(), frames::<ClientFrame>());
    let messages = |frames: &Map<String, Value>, path: &str| -> Map<String, Value> {
        frames.keys().map(|name| (name.clone(), json!({ "$ref": format!("#{path}/{name}") }))).collect()
    };
    // A client's `ping` and a server's `pong` have names of their own, so the two sets do not meet.
    let mut all = messages(&sent, "/components/messages");
    all.extend(messages(&heard, "/components/messages"));
    let of_sse = messages(&sent, "/components/messages");
    let refs = |frames: &Map<String, Value>, channel: &str| -> Vec<Value> {
        frames.keys().map(|name| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") })).collect()
    };
    let query: Map<String, Value> = QUERY
        .iter()
        .map(|(name, text)| ((*name).to_owned(), json!({ "type": "string", "description": text })))
        .collect();
    let operation = |action: &str, channel: &str, frames: &Map<String, Value>| {
        let channel_ref = format!("#/channels/{channel}");
        json!({ "action": action, "channel": { "$ref": channel_ref }, "messages": refs(frames, channel) })
    };
    let parameters = json!({ "subscriber": { "description": "whose queue" } });
    let codes: Vec<Value> = CloseCode::ALL
        .iter()
        .map(|code| json!({ "code": *code as u16, "reason": code.reason(), "reconnect": CloseCode::reconnects(*code as u16) }))
        .collect();
    let mut schemas = Map::new();
    referenced::<ServerFrame>(&mut schemas);
    referenced::<ClientFrame>(&mut schemas);
    let components: Map<String, Value> =
        sent.iter().chain(&heard).map(|(name, frame)| (name.clone(), frame.clone())).collect();
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "evs stream",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "A subscriber's queue over WebSocket (subprotocol {SUBPROTOCOL}) or as server-sent events. Ignore fields \
                 and frame types that you do not know."
            ),
        },
        "defaultContentType": "application/json",
        "servers": {
            "gateway": { "host": "localhost:8003", "protocol": "ws" },
            "gateway_sse": { "host": "localhost:8003", "protocol": "http" },
        },
        "channels": {
            "queue": {
                "address": "/ws/{subscriber}",
                "servers": [{ "$ref": "#/servers/gateway" }],
                "parameters": parameters,
                "messages": all,
                "bindings": { "ws": {
                    "method": "GET",
                    "query": { "type": "object", "properties": query },
                    "headers": { "type": "object", "properties": {
                        "Sec-WebSocket-Protocol": { "type": "string", "const": SUBPROTOCOL } } },
                    "bindingVersion": "0.1.0",
                } },
                "x-close-codes": codes,
            },
            "event_stream": {
                "address": "/sse/{subscriber}",
                "servers": [{ "$ref": "#/servers/gateway_sse" }],
                "parameters": parameters,
                "messages": of_sse,
            },
        },
        "operations": {
            "deliver": operation("send", "queue", &sent),
            "hear": operation("receive", "queue", &heard),
            "stream": operation("send", "event_stream", &sent),
        },
        "components": { "messages": components, "schemas": schemas },
    });
    plain(&mut document);
    document
}

/// The frames of a type by their `t`; less the one that stands for those of a newer version.
fn frames<T: ToSchema>() -> Map<String, Value> {
    let schema = serde_json::to_value(T::schema()).unwrap_or_default();
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_default();
    let named = variants.into_iter().filter_map(|variant| {
        let name = tag(&variant)?;
        (name != "unknown").then(|| (name.clone(), json!({ "name": name, "payload": variant })))
    });
    named.collect()
}

/// The only value that `t` may have in this variant.
fn tag(schema: &Value) -> Option<String> {
    let own = schema["properties"]["t"]["enum"][0].as_str().or_else(|| schema["properties"]["t"]["const"].as_str());
    let parts = || schema["allOf"].as_array()?.iter().find_map(tag);
    own.map(str::to_owned).or_else(parts)
}

fn referenced<T: ToSchema>(into: &mut Map<String, Value>) {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    T::schemas(&mut schemas);
    into.extend(schemas.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default())));
}

/// JSON Schema as it is: a `$ref` is the same in both documents, and nothing else of OpenAPI's own occurs.
fn plain(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("discriminator");
            fields.values_mut().for_each(plain);
        }
        Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}
