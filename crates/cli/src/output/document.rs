//! Documents for programs: JSON, YAML, and a template's text.

use std::fmt::Write as _;

use serde_json::Value;

/// Block style. Strings stand in double quotes, so that none is taken for a number, a date or a truth.
pub(super) fn yaml(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        Value::Object(fields) if !fields.is_empty() => mapping(&mut out, fields, 0),
        scalar => out.push_str(&scalar.to_string()),
    }
    out.trim_end().to_owned()
}

fn sequence(out: &mut String, items: &[Value], depth: usize) {
    for item in items {
        let _ = write!(out, "{}-", "  ".repeat(depth));
        match item {
            // The first field stands beside the dash.
            Value::Object(fields) if !fields.is_empty() => {
                let mut inner = String::new();
                mapping(&mut inner, fields, depth + 1);
                let _ = write!(out, " {}", inner.trim_start());
            }
            _ => nested(out, item, depth),
        }
    }
}

fn mapping(out: &mut String, fields: &serde_json::Map<String, Value>, depth: usize) {
    for (name, value) in fields {
        let plain = name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&name.to_lowercase().as_str());
        let name = if plain { name.clone() } else { Value::from(name.as_str()).to_string() };
        let _ = write!(out, "{}{name}:", "  ".repeat(depth));
        nested(out, value, depth);
    }
}

fn nested(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            sequence(out, items, depth + 1);
        }
        Value::Object(fields) if !fields.is_empty() => {
            out.push('\n');
            mapping(out, fields, depth + 1);
        }
        scalar => {
            let _ = writeln!(out, " {scalar}");
        }
    }
}

/// `{id} {spec.where}\n`: each `{path}` is the field of that name, `{items[0]}` an element, `{{` a brace, `\n` and `\t`
/// what they are elsewhere. What is not there is empty.
pub(super) fn template(text: &str, value: &Value) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}', '\\']) {
        out.push_str(&rest[..at]);
        let special = &rest[at..];
        rest = match special.as_bytes() {
            [b'{', b'{', ..] | [b'}', b'}', ..] => {
                out.push_str(&special[..1]);
                &special[2..]
            }
            [b'\\', b'n', ..] => {
                out.push('\n');
                &special[2..]
            }
            [b'\\', b't', ..] => {
                out.push('\t');
                &special[2..]
            }
            [b'{', ..] if special.contains('}') => {
                let end = special.find('}').unwrap_or_default();
                match field(value, special[1..end].trim()) {
                    None | Some(Value::Null) => {}
                    Some(Value::String(text)) => out.push_str(text),
                    Some(other) => out.push_str(&other.to_string()),
                }
                &special[end + 1..]
            }
            _ => {
                out.push_str(&special[..1]);
                &special[1..]
            }
        };
    }
    out.push_str(rest);
    out
}

fn field<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let path = path.trim_start_matches('.').replace('[', ".").replace(']', "");
    path.split('.').filter(|step| !step.is_empty()).try_fold(value, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_says_what_json_says() {
        let value = json!([
            { "id": 7, "name": "no", "event_types": ["a", "12"], "spec": { "where": "a == \"x\"\nb", "empty": {} } },
            { "id": 8, "on": null, "a-b": [[1, 2], []], "ok": true },
            3.5
        ]);
        expect![[r#"
            - event_types:
                - "a"
                - "12"
              id: 7
              name: "no"
              spec:
                empty: {}
                where: "a == \"x\"\nb"
            - "a-b":
                -
                  - 1
                  - 2
                - []
              id: 8
              ok: true
              "on": null
            - 3.5"#]]
        .assert_eq(&yaml(&value));
        assert_eq!(yaml(&json!([])), "[]");
        assert_eq!(yaml(&json!({ "a": 1 })), "a: 1");
    }

    #[test]
    fn a_template_takes_fields() {
        let value = json!({ "id": 7, "spec": { "where": "a > 1" }, "list": [{ "x": "y" }], "none": null });
        for (text, expect) in [
            ("{id}", "7"),
            ("{.id}: {spec.where}", "7: a > 1"),
            (r"{id}\t{list[0].x}\n", "7\ty\n"),
            ("{list}", r#"[{"x":"y"}]"#),
            ("<{nothing.at.all}{none}>", "<>"),
            ("{{id}} {", "{id} {"),
        ] {
            assert_eq!(template(text, &value), expect, "{text}");
        }
    }
}
