//! Where the real services are: `scripts/services up` says it in the environment.

/// The address of a service. A test that was asked for and has no service has failed.
pub(crate) fn address(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; eval \"$(scripts/services up)\" sets it"))
}

/// A name that no other test run uses.
pub(crate) fn fresh_name() -> String {
    format!("test-{:016x}", rand::random::<u64>())
}
