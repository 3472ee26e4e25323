//! The demo's contact sheet: its figures and thumbnails on one page of HTML that needs nothing else. Pure; called
//! by the demo.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What is on the page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sheet {
    /// The headline.
    pub(crate) title: String,
    /// A sentence below it.
    pub(crate) subtitle: String,
    /// The stories, the most telling first.
    pub(crate) figures: Vec<Figure>,
    /// The pictures.
    pub(crate) thumbnails: Vec<Thumbnail>,
}

/// One figure and the times that it comes from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure {
    /// "Waiting together"
    pub(crate) label: String,
    /// "9.6 ×"
    pub(crate) value: String,
    /// A sentence.
    pub(crate) detail: String,
    /// Times to compare, if it is about times.
    pub(crate) bars: Vec<Bar>,
}

/// One time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bar {
    /// "one after the other"
    pub(crate) label: String,
    /// The time in seconds.
    pub(crate) seconds: f64,
}

/// One picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Thumbnail {
    /// Its name, below it.
    pub(crate) name: String,
    /// A JPEG.
    pub(crate) bytes: Vec<u8>,
    /// In pixels.
    pub(crate) width: u32,
    /// In pixels.
    pub(crate) height: u32,
    /// "from 3200 × 2135 in 41 ms"
    pub(crate) detail: String,
}

const STYLE: &str = "
:root { color-scheme: light dark; --page: #f6f5f2; --card: #fff; --ink: #1d1b19; --soft: #6d6862; --line: #e4e0da;
  --accent: #d9501e; --idle: #c9c3ba; }
@media (prefers-color-scheme: dark) { :root { --page: #141416; --card: #1d1d20; --ink: #f1efec; --soft: #a09b95;
  --line: #2e2d31; --accent: #ff7a45; --idle: #55525a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: clamp(1.5rem, 4vw, 3.5rem) clamp(1rem, 3vw, 2.5rem); }
h1 { margin: 0; font-size: clamp(1.7rem, 4vw, 2.6rem); line-height: 1.15; letter-spacing: -.02em; text-wrap: balance; }
.subtitle { margin: .6rem 0 0; color: var(--soft); max-width: 46rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 21rem), 1fr)); gap: 1rem;
  margin: 2rem 0 2.5rem; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1.3rem 1.5rem 1.4rem;
  display: flex; flex-direction: column; }
.figure h2 { margin: 0; font-size: .95rem; font-weight: 600; color: var(--soft); }
.value { font-size: clamp(2.6rem, 6vw, 3.6rem); font-weight: 700; line-height: 1.1; letter-spacing: -.03em;
  font-variant-numeric: tabular-nums; }
.detail { margin: .35rem 0 0; color: var(--soft); font-size: .92rem; }
.bars { margin: auto 0 0; padding-top: 1.1rem; display: grid; gap: .6rem; }
.bar div { display: flex; justify-content: space-between; gap: 1rem; font-size: .85rem; color: var(--soft); }
.bar b { color: var(--ink); font-variant-numeric: tabular-nums; font-weight: 600; white-space: nowrap; }
.bar i { display: block; height: 10px; min-width: 4px; margin-top: .2rem; border-radius: 5px;
  background: var(--idle); }
.bar.shortest i { background: var(--accent); }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 215px), 1fr)); gap: 1.1rem .9rem; }
figure { margin: 0; min-width: 0; }
img { display: block; width: 100%; height: auto; aspect-ratio: 3 / 2; object-fit: cover; border-radius: 10px;
  background: var(--line); }
figcaption { margin-top: .4rem; font-size: .85rem; font-weight: 600; overflow-wrap: anywhere; line-height: 1.35; }
figcaption span { display: block; color: var(--soft); font-size: .8rem; font-weight: 400; }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
";

/// The page.
pub(crate) fn html(sheet: &Sheet) -> String {
    let title = escape(&sheet.title);
    let figures: String = sheet.figures.iter().map(figure).collect();
    let thumbnails: String = sheet.thumbnails.iter().map(thumbnail).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{}\
         {}{}<footer>Made by <b>turno demo</b>.</footer>\n</main>\n</body>\n</html>\n",
        section("p", "subtitle", &escape(&sheet.subtitle)),
        section("section", "figures", &figures),
        section("section", "pictures", &thumbnails),
    )
}

/// An element with a class, or nothing around nothing.
fn section(tag: &str, class: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("<{tag} class=\"{class}\">{content}</{tag}>\n") }
}

fn figure(figure: &Figure) -> String {
    let longest = figure.bars.iter().map(|bar| bar.seconds).fold(0.0, f64::max);
    let shortest = figure.bars.iter().map(|bar| bar.seconds).fold(f64::INFINITY, f64::min);
    let bars: String = figure.bars.iter().map(|it| bar(it, longest, it.seconds <= shortest)).collect();
    format!(
        "\n<div class=\"figure\"><h2>{}</h2>\n<div class=\"value\">{}</div>\n{}{}</div>",
        escape(&figure.label),
        escape(&figure.value),
        section("p", "detail", &escape(&figure.detail)),
        section("div", "bars", &bars),
    )
}

fn bar(bar: &Bar, longest: f64, shortest: bool) -> String {
    let class = if shortest { "bar shortest" } else { "bar" };
    let percent = if longest > 0.0 { (bar.seconds / longest * 100.0).clamp(0.0, 100.0) } else { 0.0 };
    format!(
        "<div class=\"{class}\"><div>{} <b>{}</b></div><i style=\"width:{percent:.1}%\"></i></div>",
        escape(&bar.label),
        time(bar.seconds),
    )
}

/// "840 ms", "8.1 s"
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 0.01 => format!("{:.1} ms", s * 1000.0),
        s if s < 0.9995 => format!("{:.0} ms", s * 1000.0),
        s if s < 99.95 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}

fn thumbnail(thumbnail: &Thumbnail) -> String {
    let name = escape(&thumbnail.name);
    let mut html = String::with_capacity(thumbnail.bytes.len() * 4 / 3 + 400);
    html.push_str("\n<figure><img alt=\"");
    html.push_str(&name);
    html.push_str("\" src=\"data:image/jpeg;base64,");
    STANDARD.encode_string(&thumbnail.bytes, &mut html);
    let (width, height) = (thumbnail.width, thumbnail.height);
    // Writing to a string does not fail.
    let _ = write!(html, "\" width=\"{width}\" height=\"{height}\"><figcaption>{name}");
    let _ = write!(html, "<span>{}</span></figcaption></figure>", escape(&thumbnail.detail));
    html
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Bar, Figure, Sheet, Thumbnail, html, time};

    fn sheet(text: &str) -> Sheet {
        let bar = |seconds| Bar { label: text.into(), seconds };
        Sheet {
            title: text.into(),
            subtitle: text.into(),
            figures: vec![Figure {
                label: text.into(),
                value: text.into(),
                detail: text.into(),
                bars: vec![bar(8.0), bar(0.5)],
            }],
            thumbnails: vec![Thumbnail {
                name: text.into(),
                bytes: vec![0, 1, 2],
                width: 256,
                height: 171,
                detail: text.into(),
            }],
        }
    }

    #[test]
    fn all_is_on_the_page_and_nothing_is_fetched() {
        let page = html(&sheet("cats"));
        assert!(
            page.contains(
                "<img alt=\"cats\" src=\"data:image/jpeg;base64,AAEC\" width=\"256\" height=\"171\">"
            )
        );
        assert!(page.contains("<b>8.0 s</b></div><i style=\"width:100.0%\">"));
        assert!(
            page.contains(
                "<div class=\"bar shortest\"><div>cats <b>500 ms</b></div><i style=\"width:6.2%\">"
            )
        );
        assert!(!page.contains("http") && !page.contains("<script") && !page.contains("<link"));
    }

    #[test]
    fn text_stays_text() {
        let page = html(&sheet("<b onclick='x'>\"&amp;"));
        assert!(!page.contains("<b onclick"));
        assert_eq!(page.matches("&lt;b onclick=&#39;x&#39;&gt;&quot;&amp;amp;").count(), 11, "{page}");
    }

    #[test]
    fn an_empty_sheet_is_a_page() {
        let page = html(&Sheet { figures: vec![Figure::default()], ..Sheet::default() });
        assert!(page.starts_with("<!doctype html>") && page.contains("turno demo"));
        assert!(!page.contains("class=\"bars\"") && !page.contains("class=\"pictures\""));
    }

    #[test]
    fn times_are_short() {
        let times =
            [(0.0042, "4.2 ms"), (0.0416, "42 ms"), (0.9999, "1.0 s"), (12.34, "12.3 s"), (125.0, "125 s")];
        for (seconds, text) in times {
            assert_eq!(time(seconds), text);
        }
    }
}
