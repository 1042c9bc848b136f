//! Confines a tenant's filters to the tenant's events, by a condition in front of its own.
//!
//! The condition is part of the stored `where`, so matcher, index, backfill and explain keep to it without knowing of
//! tenants. It is taken off again when the tenant reads its filter.

use crate::auth::Tenant;

/// `tenant == "a" && (where)`.
pub(in crate::http) fn confine(field: &str, tenant: &Tenant, where_: Option<&str>) -> String {
    match where_ {
        None => condition(field, tenant),
        Some(where_) => format!("{} && ({where_})", condition(field, tenant)),
    }
}

/// The tenant's own part of what [`confine`] made.
pub(in crate::http) fn free(field: &str, tenant: &Tenant, confined: &str) -> Option<String> {
    let rest = confined.strip_prefix(&condition(field, tenant))?;
    Some(rest.strip_prefix(" && (")?.strip_suffix(')')?.to_owned())
}

/// A tenant's name needs no escape in a string literal.
fn condition(field: &str, tenant: &Tenant) -> String {
    format!("{field} == \"{}\"", tenant.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confined_can_be_freed() {
        let tenant = Tenant::new("a").unwrap();
        for own in [Some("x == 1 || y == 2"), None] {
            let confined = confine("tenant", &tenant, own);
            assert_eq!(free("tenant", &tenant, &confined).as_deref(), own);
        }
        assert_eq!(confine("tenant", &tenant, Some("x || y")), "tenant == \"a\" && (x || y)");
    }
}
