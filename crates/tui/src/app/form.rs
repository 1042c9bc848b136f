//! The filter form: fields, what is wrong with them, and the dry run that comes before saving.

use evs_api::Problem;
use evs_api::filters::{Filter, FilterSpec, TestRequest, TestResponse};

use crate::expression::{self, Mistake};
use crate::input::Input;
use crate::message::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Subscriber,
    Name,
    EventTypes,
    UserTiers,
    MinAmount,
    Where,
}

pub const FIELDS: [Field; 6] =
    [Field::Subscriber, Field::Name, Field::EventTypes, Field::UserTiers, Field::MinAmount, Field::Where];

impl Field {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Subscriber => "subscriber",
            Self::Name => "name",
            Self::EventTypes => "event types",
            Self::UserTiers => "user tiers",
            Self::MinAmount => "min amount",
            Self::Where => "where",
        }
    }

    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Self::Subscriber => "who gets the events",
            Self::Name => "optional; creating it again replaces it",
            Self::EventTypes => "comma separated; empty is any",
            Self::UserTiers => "comma separated; empty is any",
            Self::MinAmount => "a number; empty is any",
            Self::Where => "such as amount >= 100 && country in [\"DE\",\"FR\"]",
        }
    }

    /// As the server names it in a problem's pointer.
    fn pointer(self) -> &'static str {
        match self {
            Self::Subscriber => "/subscriber_id",
            Self::Name => "/name",
            Self::EventTypes => "/event_types",
            Self::UserTiers => "/user_tiers",
            Self::MinAmount => "/min_amount",
            Self::Where => "/where",
        }
    }
}

#[derive(Clone, Debug)]
pub struct FilterForm {
    /// The filter being edited, and the version of it that is changed; none for a new one.
    pub id: Option<u32>,
    pub version: u64,
    /// Somebody else changed it since; saving again is meant to replace that.
    pub overtaken: bool,
    pub fields: [Input; 6],
    pub focus: usize,
    pub test: Test,
    /// The number of the request that saves it.
    pub saving: Option<u64>,
    /// What the server found wrong with the last attempt.
    pub refused: Option<Failure>,
}

#[derive(Clone, Debug, Default)]
pub enum Test {
    #[default]
    None,
    Running {
        ask: u64,
        request: Box<TestRequest>,
    },
    Done {
        request: Box<TestRequest>,
        response: Box<TestResponse>,
    },
    /// The server could not try it; saving is allowed then, and the screen says that it was not tried.
    Failed {
        request: Box<TestRequest>,
        why: Failure,
    },
}

impl FilterForm {
    #[must_use]
    pub fn new(subscriber: &str, where_: &str) -> Self {
        let mut fields: [Input; 6] = std::array::from_fn(|_| Input::default());
        fields[0].set(subscriber);
        fields[5].set(where_);
        let focus = usize::from(!subscriber.is_empty()) * 2;
        Self { id: None, version: 0, overtaken: false, fields, focus, test: Test::None, saving: None, refused: None }
    }

    #[must_use]
    pub fn edit(filter: &Filter) -> Self {
        let spec = &filter.spec;
        let mut form = Self::new(&spec.subscriber_id, spec.where_.as_deref().unwrap_or_default());
        form.id = Some(filter.id);
        form.version = filter.version;
        form.fields[1].set(spec.name.as_deref().unwrap_or_default());
        form.fields[2].set(&spec.event_types.join(", "));
        form.fields[3].set(&spec.user_tiers.join(", "));
        form.fields[4].set(&spec.min_amount.as_ref().map(ToString::to_string).unwrap_or_default());
        form.focus = 5;
        form
    }

    #[must_use]
    pub fn text(&self, field: Field) -> &str {
        self.fields[field as usize].text().trim()
    }

    /// The owner of a filter cannot be changed.
    #[must_use]
    pub fn is_fixed(&self, field: Field) -> bool {
        self.id.is_some() && field == Field::Subscriber
    }

    pub fn step_focus(&mut self, forward: bool) {
        let n = FIELDS.len();
        self.focus = if forward { (self.focus + 1) % n } else { (self.focus + n - 1) % n };
        if self.is_fixed(FIELDS[self.focus]) {
            self.focus = if forward { (self.focus + 1) % n } else { n - 1 };
        }
    }

    /// What is wrong with a field, found here while it is typed, or by the server.
    #[must_use]
    pub fn mistake(&self, field: Field) -> Option<Mistake> {
        let text = self.text(field);
        let here = match field {
            Field::MinAmount if !text.is_empty() && number(text).is_none() => {
                Some(Mistake::plain("not a number", text.len()))
            }
            Field::Where => expression::check(text).err(),
            _ => None,
        };
        here.or_else(|| self.refused.as_ref()?.problem.as_deref().and_then(|p| told(p, field, text)))
    }

    /// # Errors
    /// With the field to mend.
    pub fn spec(&self) -> Result<FilterSpec, (Field, String)> {
        if self.text(Field::Subscriber).is_empty() {
            return Err((Field::Subscriber, "whose filter is it?".into()));
        }
        for field in [Field::MinAmount, Field::Where] {
            if let (Some(mistake), None) = (self.mistake(field), &self.refused) {
                return Err((field, mistake.message));
            }
        }
        let some = |field| Some(self.text(field).to_owned()).filter(|t| !t.is_empty());
        Ok(FilterSpec {
            subscriber_id: self.text(Field::Subscriber).to_owned(),
            name: some(Field::Name),
            event_types: words(self.text(Field::EventTypes)),
            user_tiers: words(self.text(Field::UserTiers)),
            min_amount: number(self.text(Field::MinAmount)),
            where_: some(Field::Where),
        })
    }

    /// Whether the dry run that is shown is of what the fields say now.
    #[must_use]
    pub fn is_tested(&self, spec: &FilterSpec) -> bool {
        match &self.test {
            Test::Done { request, .. } | Test::Failed { request, .. } => **request == test_request(spec),
            _ => false,
        }
    }
}

#[must_use]
pub fn test_request(spec: &FilterSpec) -> TestRequest {
    TestRequest {
        event_types: spec.event_types.clone(),
        user_tiers: spec.user_tiers.clone(),
        min_amount: spec.min_amount.clone(),
        where_: spec.where_.clone(),
        since: None,
        samples: Some(20),
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect()
}

fn number(text: &str) -> Option<serde_json::Number> {
    serde_json::from_str(text).ok()
}

fn told(problem: &Problem, field: Field, text: &str) -> Option<Mistake> {
    let error = problem.errors.iter().find(|e| e.pointer.starts_with(field.pointer()))?;
    let [from, to] = error.span.unwrap_or([0, text.len()]);
    Some(Mistake { message: error.detail.clone(), span: (from, to), hint: error.hint.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_a_spec() {
        let mut form = FilterForm::new("user_1", "");
        form.fields[2].set("purchase, refund,");
        form.fields[4].set("99.5");
        let spec = form.spec().unwrap();
        assert_eq!(spec.event_types, ["purchase", "refund"]);
        assert_eq!(spec.min_amount.unwrap().to_string(), "99.5");
        assert_eq!(spec.where_, None);
    }

    #[test]
    fn a_bad_number_and_a_missing_owner_are_told_at_their_field() {
        let mut form = FilterForm::new("", "");
        assert_eq!(form.spec().unwrap_err().0, Field::Subscriber);
        form.fields[0].set("u");
        form.fields[4].set("many");
        assert_eq!(form.spec().unwrap_err().0, Field::MinAmount);
    }

    #[test]
    fn the_owner_of_an_edited_filter_is_skipped() {
        let mut form = FilterForm::new("u", "");
        form.id = Some(1);
        form.focus = 5;
        form.step_focus(true);
        assert_eq!(FIELDS[form.focus], Field::Name);
        form.step_focus(false);
        assert_eq!(FIELDS[form.focus], Field::Where);
    }
}
