//! Each mistake that a user is likely to make with `#[turno::service]` is an error at the user's own line that says
//! what was expected: `ui/*.rs` are the mistakes, `ui/*.stderr` what the user reads. After a change of a message,
//! `TRYBUILD=overwrite cargo test -p turno --test ui` writes them anew: read the difference.

#[test]
fn mistakes_are_told_at_the_users_own_line() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
