//! Is a `where` expression well formed? Asked at each key, so the answer comes from the same parser as the server's.

/// What is wrong, and where in the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub message: String,
    /// Byte range.
    pub span: (usize, usize),
    pub hint: Option<String>,
}

impl Mistake {
    #[must_use]
    pub fn plain(message: &str, len: usize) -> Self {
        Self { message: message.to_owned(), span: (0, len), hint: None }
    }
}

/// # Errors
/// The first mistake.
pub fn check(text: &str) -> Result<(), Mistake> {
    if text.is_empty() {
        return Ok(());
    }
    match evs_core::filter::parse_where(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Mistake {
            message: error.message,
            // A place where something is missing is shown as the character there.
            span: (error.span.start, error.span.end.max(error.span.start + 1)),
            hint: error.hint,
        }),
    }
}

/// A filter as one condition for the stream of all events; none if it takes everything.
#[must_use]
pub fn of_filter(filter: &evs_api::filters::Filter) -> Option<String> {
    let quoted = |words: &[String]| {
        words.iter().map(|w| serde_json::to_string(w).unwrap_or_default()).collect::<Vec<_>>().join(", ")
    };
    let spec = &filter.spec;
    let mut parts = Vec::new();
    if !spec.event_types.is_empty() {
        parts.push(format!("event_type in [{}]", quoted(&spec.event_types)));
    }
    if !spec.user_tiers.is_empty() {
        parts.push(format!("user_tier in [{}]", quoted(&spec.user_tiers)));
    }
    if let Some(min) = &spec.min_amount {
        parts.push(format!("amount >= {min}"));
    }
    if let Some(expression) = &spec.where_ {
        parts.push(if parts.is_empty() { expression.clone() } else { format!("({expression})") });
    }
    (!parts.is_empty()).then(|| parts.join(" && "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_mistake_is_told() {
        assert_eq!(check("amount >= 100 && country in [\"DE\"]"), Ok(()));
        let mistake = check("amount >= && x").unwrap_err();
        assert!(mistake.span.0 >= 7, "{mistake:?}");
    }

    #[test]
    fn a_filter_as_a_condition_is_well_formed() {
        let filter = evs_api::filters::Filter {
            id: 1,
            spec: evs_api::filters::FilterFields {
                subscriber_id: "u".into(),
                event_types: vec!["pur\"chase".into()],
                user_tiers: vec!["premium".into()],
                min_amount: Some(100.into()),
                where_: Some("a == 1 || b == 2".into()),
                ..Default::default()
            },
            version: 1,
            status: evs_api::filters::FilterStatus::Active,
            created_at: String::new(),
            updated_at: String::new(),
            activity: None,
        };
        let condition = of_filter(&filter).unwrap();
        assert_eq!(check(&condition), Ok(()), "{condition}");
    }
}
