//! Statements over many rows at once. sqlx hands every statement to the connection's thread and back, which costs more than
//! writing a row does: so rows of one kind go together. A statement has one of a few sizes, so that each is prepared once;
//! what is left of a size stays unbound, which SQLite reads as NULL, and a row whose first value is NULL is none.

use std::sync::LazyLock;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Rows in one statement.
const SIZES: [usize; 5] = [1, 4, 16, 64, 256];

/// The largest.
pub(super) const MOST: usize = SIZES[SIZES.len() - 1];

/// One statement in every size.
pub(super) struct Shape {
    sizes: LazyLock<[SqlStr; SIZES.len()]>,
}

impl Shape {
    const fn new(sizes: fn() -> [SqlStr; SIZES.len()]) -> Self {
        Self { sizes: LazyLock::new(sizes) }
    }

    /// The statement for so many rows, at most [`MOST`].
    pub(super) fn of(&self, rows: usize) -> SqlStr {
        let size = SIZES.iter().position(|size| rows <= *size).unwrap_or(SIZES.len() - 1);
        self.sizes[size].clone()
    }
}

/// `before (VALUES (?, …), …) after`, with so many columns.
fn shaped(before: &str, columns: usize, after: &str) -> [SqlStr; SIZES.len()] {
    let row = format!("({})", vec!["?"; columns].join(", "));
    SIZES.map(|size| {
        let text = format!("{before} (VALUES {}) {after}", vec![row.as_str(); size].join(", "));
        AssertSqlSafe(std::sync::Arc::<str>::from(text)).into_sql_str()
    })
}

/// New tickets.
pub(super) static SUBMIT: Shape = Shape::new(|| {
    shaped(
        "INSERT INTO ticket (seq, id, state, method, tenant, labels, key, attempts, retries, submitted_at, not_before, \
         due_at, began_at, timeout_ms, keep_ms, gateway, metadata, request_bytes, request_seal, request_body, request, parts, items) \
         SELECT * FROM",
        23,
        "WHERE column1 IS NOT NULL",
    )
});

/// The ends of attempts.
pub(super) static LEAVE: Shape = Shape::new(|| {
    shaped(
        "UPDATE ticket SET state = v.column2, due_at = v.column3, ended_at = v.column4, expires_at = v.column5, \
         failures = v.column6, gateway = NULL, \
         failure_code = coalesce(v.column7, failure_code), \
         failure_message = iif(v.column7 IS NULL, failure_message, v.column8), \
         failure_details = iif(v.column7 IS NULL, failure_details, v.column9), \
         response_bytes = coalesce(v.column10, 0), response_seal = v.column11, response_body = v.column12, \
         response = v.column13, \
         progress_done = coalesce(v.column14, progress_done), progress_total = coalesce(v.column15, progress_total), \
         progress_note = coalesce(v.column16, progress_note) FROM",
        16,
        "AS v WHERE ticket.seq = v.column1",
    )
});

/// The beginnings of attempts.
pub(super) static BEGIN: Shape = Shape::new(|| {
    shaped(
        "UPDATE ticket SET state = 'running', due_at = NULL, attempts = v.column2, gateway = v.column3, \
         began_at = v.column4 FROM",
        4,
        "AS v WHERE ticket.seq = v.column1",
    )
});

/// What is kept of attempts that failed.
pub(super) static RECORD: Shape = Shape::new(|| {
    shaped(
        "INSERT OR REPLACE INTO attempt (ticket, number, began_at, ended_at, code, message, details) SELECT * FROM",
        7,
        "WHERE column1 IS NOT NULL",
    )
});

/// Idempotency keys.
pub(super) static KEY: Shape = Shape::new(|| {
    shaped(
        "INSERT OR REPLACE INTO idempotency (tenant, key, ticket, demand, remembered_until, method, submitted_at) \
         SELECT * FROM",
        7,
        "WHERE column1 IS NOT NULL",
    )
});

/// Which of these keys are known.
pub(super) static KNOWN: Shape = Shape::new(|| {
    shaped(
        "SELECT tenant, key, ticket, demand, remembered_until, method, state, submitted_at, ended_at FROM idempotency \
         WHERE (tenant, key) IN",
        2,
        "",
    )
});
