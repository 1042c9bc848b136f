//! How the demo answers requests: filters are really made, tried and explained.

use evs_api::Problem;
use evs_api::dead_letters::ReplayResponse;
use evs_api::events::LoggedEvent;
use evs_api::explain::{Clause, Explanation, FilterExplanation, Step};
use evs_api::filters::{
    Filter as ApiFilter, FilterActivity, FilterFields, FilterSpec, FilterStatus, Sample, TestRequest, TestResponse,
};
use evs_api::oplog::Level;
use evs_core::Filter;
use evs_core::filter::Outcome;
use evs_core::filter::ast::Literal;

use super::{Live, World, cast};
use crate::format::age_ms;
use crate::message::{Answer, Ask, Failure, FailureKind};

impl World {
    /// # Errors
    /// As a server would refuse it.
    pub fn answer(&mut self, ask: Ask) -> Result<Answer, Failure> {
        match ask {
            Ask::CreateFilter(spec) => {
                let owner = match self.actors.iter().position(|a| a.id == spec.subscriber_id) {
                    Some(at) => at,
                    None => {
                        let mut actor = cast::actors(0).swap_remove(7);
                        actor.id.clone_from(&spec.subscriber_id);
                        (actor.top, actor.acked, actor.top_before) = (0, 0, 0);
                        self.actors.push(actor);
                        self.actors.len() - 1
                    }
                };
                let filter = self.add_filter(owner, spec)?;
                let message = format!("filter {}, version {}", filter.id, filter.version);
                self.happened(Level::Info, "filter_created", Some(filter.spec.subscriber_id.clone()), message);
                Ok(Answer::FilterSaved(Box::new(filter)))
            }
            Ask::UpdateFilter { id, spec, version: of } => {
                self.expect(id, of)?;
                let meaning = meaning(&spec)?;
                let condition = self.condition(meaning.condition());
                self.version += 1;
                let version = self.version;
                let live = self.filters.iter_mut().find(|f| f.shown.id == id).ok_or_else(|| not_found("filter"))?;
                live.condition = condition;
                live.meaning = meaning;
                live.shown.spec = fields(spec);
                live.shown.version = version;
                live.shown.status = FilterStatus::Pending;
                let filter = live.shown.clone();
                self.happened(Level::Info, "filter_updated", None, format!("filter {id}, version {version}"));
                Ok(Answer::FilterSaved(Box::new(filter)))
            }
            Ask::DeleteFilters(filters) => {
                for (id, version) in &filters {
                    self.expect(*id, *version)?;
                    self.filters.retain(|f| f.shown.id != *id);
                    self.version += 1;
                    let message = format!("filter {id}, version {}", self.version);
                    self.happened(Level::Info, "filter_deleted", None, message);
                }
                Ok(Answer::FiltersDeleted(filters.into_iter().map(|(id, _)| id).collect()))
            }
            Ask::TestFilter(request) => self.test(request).map(|response| Answer::Tested(Box::new(response))),
            Ask::Event(position) => Ok(Answer::Event(self.event_at(&position).map(Box::new))),
            Ask::Explain { subscriber, event } => self.explain(&subscriber, &event),
            Ask::Redrive(ids) => {
                let before = self.dead.len();
                self.dead.retain(|d| !ids.is_empty() && !ids.contains(&d.id));
                Ok(Answer::Redriven(ReplayResponse { replayed: (before - self.dead.len()) as u64, failed: 0 }))
            }
            Ask::Purge(ids) => {
                self.dead.retain(|d| !ids.is_empty() && !ids.contains(&d.id));
                Ok(Answer::Purged)
            }
        }
    }

    /// As `If-Match` is honoured by a server.
    fn expect(&self, id: u32, version: u64) -> Result<(), Failure> {
        let present = self.filters.iter().find(|f| f.shown.id == id).ok_or_else(|| not_found("filter"))?;
        if present.shown.version == version {
            return Ok(());
        }
        let why = format!("filter {id} was changed; it is at version {}", present.shown.version);
        let problem =
            Problem { status: 412, code: "version_mismatch".into(), detail: why.clone(), ..Problem::default() };
        Err(Failure { kind: FailureKind::Rejected, why, problem: Some(problem.into()) })
    }

    pub(super) fn add_filter(&mut self, owner: usize, spec: FilterSpec) -> Result<ApiFilter, Failure> {
        let meaning = meaning(&spec)?;
        let condition = self.condition(meaning.condition());
        self.version += 1;
        let shown = ApiFilter {
            id: self.next_filter,
            spec: fields(spec),
            version: self.version,
            status: FilterStatus::Pending,
            created_at: "2026-01-01T00:00:00Z".into(),
            updated_at: "2026-01-01T00:00:00Z".into(),
            activity: Some(FilterActivity::default()),
        };
        self.next_filter += 1;
        self.filters.push(Live { shown: shown.clone(), condition, meaning, owner, hits_before: 0 });
        Ok(shown)
    }

    fn test(&self, request: TestRequest) -> Result<TestResponse, Failure> {
        let spec = FilterSpec {
            event_types: request.event_types,
            user_tiers: request.user_tiers,
            min_amount: request.min_amount,
            where_: request.where_,
            ..FilterSpec::default()
        };
        let filter = meaning(&spec)?;
        let matching: Vec<_> = self.recent.iter().filter(|e| filter.matches_value(&e.value)).collect();
        let span_s = self.recent.front().map_or(0.0, |first| age_ms(self.now_ms, first.time_ms)).max(0.1);
        let samples = matching
            .iter()
            .rev()
            .take(request.samples.unwrap_or(10) as usize)
            .filter_map(|e| {
                let data = serde_json::value::RawValue::from_string(e.json.to_string()).ok()?;
                Some(Sample { position: e.position.clone(), time_ms: e.time_ms, data })
            })
            .collect();
        Ok(TestResponse {
            canonical: filter.condition().to_string(),
            scanned: self.recent.len() as u64,
            matched: matching.len() as u64,
            matched_per_s: matching.len() as f64 / span_s,
            span_s,
            truncated: false,
            warning: None,
            samples,
        })
    }

    fn event_at(&self, position: &str) -> Option<LoggedEvent> {
        let recent = self.recent.iter().find(|recent| recent.position == position)?;
        let data = serde_json::value::RawValue::from_string(recent.json.to_string()).ok()?;
        let headers = self.headers().headers.clone();
        Some(LoggedEvent { position: position.into(), time_ms: recent.time_ms, data, headers, headers_left_out: 0 })
    }

    fn explain(&self, subscriber: &str, event: &str) -> Result<Answer, Failure> {
        let at = self.actors.iter().position(|a| a.id == subscriber).ok_or_else(|| not_found(subscriber))?;
        let found = self.recent.iter().rev().find(|e| e.position == event || e.value["event_id"] == event);
        let recent = found.ok_or_else(|| not_found(event))?;
        let filters: Vec<FilterExplanation> = self
            .filters
            .iter()
            .filter(|f| f.owner == at)
            .map(|f| {
                let told = f.meaning.explain_value(&recent.value);
                let clauses = told.clauses.into_iter().map(|clause| Clause {
                    outcome: match clause.outcome {
                        Outcome::True => "true".into(),
                        Outcome::False => "false".into(),
                        Outcome::Error(_) => "error".into(),
                    },
                    saw: clause
                        .seen
                        .first()
                        .map(|seen| format!("{} = {}", seen.path, seen.value.as_deref().unwrap_or("(absent)"))),
                    text: clause.text,
                });
                FilterExplanation { id: f.shown.id, matched: told.matches, clauses: clauses.collect() }
            })
            .collect();
        let was = recent.matched.iter().any(|(owner, _)| *owner == at);
        let step = |step: &str, detail: String| Step { step: step.into(), detail };
        let mut trail =
            vec![step("logged", format!("at {}, {}", recent.position, crate::format::time(0, recent.time_ms, false)))];
        if was {
            trail.push(step("matched", format!("{} of its filters", filters.iter().filter(|f| f.matched).count())));
            trail.push(step("queued", format!("in shard {}", at % 4)));
        } else {
            trail.push(step("not_matched", "no filter of the subscriber matched when it was read".into()));
        }
        Ok(Answer::Explained(Box::new(Explanation {
            subscriber: subscriber.into(),
            position: recent.position.clone(),
            event_id: recent.value["event_id"].as_str().map(str::to_owned),
            matched: filters.iter().any(|f| f.matched),
            filters,
            trail,
        })))
    }
}

fn meaning(spec: &FilterSpec) -> Result<Filter, Failure> {
    let boxed = |words: &[String]| words.iter().map(|w| w.as_str().into()).collect();
    let min_amount = spec.min_amount.as_ref().map(|n| match (n.as_i64(), n.as_f64()) {
        (Some(int), _) => Literal::Int(int),
        (None, Some(float)) => Literal::Double(float),
        (None, None) => Literal::Null,
    });
    Filter::new(boxed(&spec.event_types), boxed(&spec.user_tiers), min_amount, spec.where_.as_deref())
        .map_err(|error| Failure { kind: FailureKind::Rejected, why: error.to_string(), problem: None })
}

fn fields(spec: FilterSpec) -> FilterFields {
    let FilterSpec { subscriber_id, name, event_types, user_tiers, min_amount, where_ } = spec;
    FilterFields { subscriber_id, name, event_types, user_tiers, min_amount, where_ }
}

pub(super) fn not_found(what: &str) -> Failure {
    Failure { kind: FailureKind::NotFound, why: format!("no {what}"), problem: None }
}
