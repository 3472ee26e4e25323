//! Tickets as a table. Pure.

use super::ticket::{Ticket, millis};
use crate::listing::{age, table};

const COLUMNS: [&str; 6] = ["ID", "METHOD", "STATE", "ATTEMPTS", "AGE", "NOTE"];
const GAP: usize = 3;
/// With less room for its note, a method is shown without its package.
const WANTED_NOTE: usize = 24;
const LEAST_NOTE: usize = 8;

/// `width`: how many characters a line has; `None` for programs, which see everything whole.
pub(crate) fn text(tickets: &[Ticket], now_ms: i64, width: Option<usize>) -> String {
    let mut rows: Vec<[String; 6]> = tickets.iter().map(|ticket| row(ticket, now_ms)).collect();
    match width {
        None => {
            for (row, ticket) in rows.iter_mut().zip(tickets) {
                row[0] = ticket.name.clone();
            }
        }
        Some(width) => fit(&mut rows, width),
    }
    table(COLUMNS, &[], rows.into_iter())
}

fn row(ticket: &Ticket, now_ms: i64) -> [String; 6] {
    let submitted = ticket.metadata.submit_time.as_ref().map_or(now_ms, millis);
    [
        ticket.short().to_owned(),
        ticket.metadata.method.clone(),
        ticket.state().to_owned(),
        ticket.attempts(),
        age(u64::try_from(now_ms - submitted).unwrap_or(0)),
        ticket.note(now_ms),
    ]
}

/// Cuts what does not fit on a line: first the packages of the methods, then the notes.
fn fit(rows: &mut [[String; 6]], width: usize) {
    let longest_note = rows.iter().map(|row| row[5].chars().count()).max().unwrap_or(0);
    if room(rows, width) < longest_note.min(WANTED_NOTE) {
        for row in rows.iter_mut() {
            row[1] = without_package(&row[1]).to_owned();
        }
    }
    let room = room(rows, width).max(LEAST_NOTE);
    for row in rows {
        row[5] = cut(&row[5], room);
    }
}

/// What the other columns leave for the note.
fn room(rows: &[[String; 6]], width: usize) -> usize {
    let longest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(COLUMNS[column].len()) + GAP
    };
    width.saturating_sub((0..5).map(longest).sum())
}

/// "gallery.v1.Gallery/Thumbnail": "Gallery/Thumbnail".
fn without_package(method: &str) -> &str {
    let service_ends = method.find('/').unwrap_or(method.len());
    method[..service_ends].rfind('.').map_or(method, |dot| &method[dot + 1..])
}

/// At most so many characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::ticket::tests::{dead, running};
    use super::{cut, text, without_package};

    const NOW: i64 = 1_000_192_000;

    #[test]
    fn a_wide_screen_shows_methods_whole() {
        let shown = text(&[running(), dead()], NOW, Some(120));
        let expected = "\
ID         METHOD                         STATE     ATTEMPTS   AGE      NOTE
9f3ac2b1   gallery.v1.Gallery/Thumbnail   running   1/3        3m 12s   3 of 10: shrinking
00000007   gallery.v1.Gallery/Thumbnail   dead      3/3        3m 12s   UNAVAILABLE: the oven of the second kitchen is\u{2026}";
        assert_eq!(shown, expected, "\n{shown}");
    }

    #[test]
    fn a_narrow_one_leaves_packages_out_and_cuts_notes() {
        let shown = text(&[running(), dead()], NOW, Some(80));
        let expected = "\
ID         METHOD              STATE     ATTEMPTS   AGE      NOTE
9f3ac2b1   Gallery/Thumbnail   running   1/3        3m 12s   3 of 10: shrinking
00000007   Gallery/Thumbnail   dead      3/3        3m 12s   UNAVAILABLE: the o\u{2026}";
        assert_eq!(shown, expected, "\n{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn a_program_reads_everything_whole() {
        let shown = text(&[dead()], NOW, None);
        assert!(shown.contains(&dead().name) && shown.ends_with("is cold and stays so"), "{shown}");
    }

    #[test]
    fn what_is_too_long_ends_in_a_sign() {
        assert_eq!(cut("abcdef", 6), "abcdef");
        assert_eq!(cut("abc def", 5), "abc\u{2026}");
        assert_eq!(without_package("a.v1.A/Do"), "A/Do");
        assert_eq!(without_package("A/Do"), "A/Do");
    }
}
