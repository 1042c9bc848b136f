//! What to write instead: the mistakes that people bring along from SQL, Python and JavaScript.

/// For a word where an operator should be, as in `a > 1 and b`.
pub(super) fn for_word_operator(word: &str) -> Option<String> {
    let hint = match word.to_ascii_lowercase().as_str() {
        "and" => "write && for and",
        "or" => "write || for or",
        "not" => "write !(x in [...]) for not in",
        "is" => "write == null for a field that holds null, !has(field) for one that is absent",
        "eq" | "equals" | "is_equal" => "write ==",
        "ne" | "neq" => "write !=",
        "gt" => "write >",
        "ge" | "gte" => "write >=",
        "lt" => "write <",
        "le" | "lte" => "write <=",
        "like" | "ilike" | "matches" | "regexp" | "rlike" => {
            "write x.startsWith(\"...\"), x.contains(\"...\") or x.matches(\"regex\")"
        }
        "contains" | "startswith" | "endswith" => "string functions are called on a field: x.contains(\"...\")",
        "between" => "write x >= 1 && x <= 9",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// For a symbol where an operator should be, or that is none.
pub(super) fn for_symbol(symbol: &str) -> Option<(&'static str, &'static str)> {
    Some(match symbol {
        "=" => ("a single `=` compares nothing", "write == for equal"),
        "===" => ("unknown operator `===`", "write =="),
        "!==" => ("unknown operator `!==`", "write !="),
        "&" => ("a single `&` joins nothing", "write && for and"),
        "|" => ("a single `|` joins nothing", "write || for or"),
        "?" => ("the conditional `a ? b : c` is not part of the language", "write (a && b) || (!a && c)"),
        "+" | "-" | "*" | "/" | "%" => (
            "arithmetic is not part of the language",
            "compare with a ready value: amount > 120 rather than amount > 100 * 1.2; text such as a date goes in quotes",
        ),
        "{" => ("maps are not part of the language", "compare the fields one by one: a.x == 1 && a.y == 2"),
        _ => return None,
    })
}

/// The functions that the language has, for "did you mean".
pub(super) const METHODS: [&str; 4] = ["startsWith", "endsWith", "contains", "matches"];

/// For `x.name(...)` where the name is none of ours.
pub(super) fn for_method(name: &str) -> String {
    let plain: String = name.chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
    let meant = match plain.as_str() {
        "beginswith" | "hasprefix" | "prefix" | "startwith" => Some("startsWith"),
        "hassuffix" | "suffix" | "endwith" => Some("endsWith"),
        "includes" | "has" | "contain" | "indexof" | "like" => Some("contains"),
        "match" | "regex" | "regexp" | "matchesregex" | "test" => Some("matches"),
        other => METHODS.into_iter().find(|method| distance(&method.to_ascii_lowercase(), other) <= 2),
    };
    match (meant, plain.as_str()) {
        (Some(meant), _) => format!("did you mean {meant}(...)?"),
        (None, "exists" | "existsone" | "all" | "map" | "filter") => {
            "macros over lists are not part of the language; for one value write \"a\" in tags".to_owned()
        }
        (None, "lower" | "upper" | "loweascii" | "lowerascii" | "upperascii" | "tolowercase" | "touppercase") => {
            "to ignore case write x.matches(\"(?i)^text$\")".to_owned()
        }
        (None, "size" | "length" | "len" | "count") => {
            "sizes are not part of the language; x[0] is there if has(x[0]), and empty text is x == \"\"".to_owned()
        }
        _ => format!("the functions are {}, and has(field)", METHODS.map(|m| format!("{m}(...)")).join(", ")),
    }
}

/// For `name(...)` where the name is not `has`.
pub(super) fn for_function(name: &str) -> String {
    if METHODS.contains(&name) {
        return format!("call it on the field: x.{name}(\"...\")");
    }
    match name.to_ascii_lowercase().as_str() {
        "exists" | "defined" | "isset" | "present" | "exist" => "did you mean has(field)?".to_owned(),
        "int" | "uint" | "double" | "string" | "bool" | "dyn" => {
            "conversions are not part of the language; ints and doubles compare by value as they are".to_owned()
        }
        "timestamp" | "duration" | "now" | "date" => {
            "times are not part of the language; RFC 3339 texts in UTC compare in order: timestamp >= \"2026-01-01\""
                .to_owned()
        }
        "type" => "types are not part of the language; a comparison across types is simply not a match".to_owned(),
        "not" | "and" | "or" => "write ! for not, && for and, || for or".to_owned(),
        _ => for_method(name),
    }
}

/// Edits that turn one short word into the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
