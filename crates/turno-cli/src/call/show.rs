//! Answers on the screen: one JSON object a message, with bytes saved to a file, named in short, or written out.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use prost_reflect::{DynamicMessage, MessageDescriptor};
use serde_json::Value;

use super::json;

/// Longer bytes than these are not shown to a person.
const SHOWN_BYTES: usize = 64;

/// How answers are shown.
pub(crate) struct Style {
    /// Where bytes are saved.
    pub(crate) save: Option<PathBuf>,
    /// One line a message, nothing left out: for programs.
    pub(crate) compact: bool,
    /// A person reads it.
    pub(crate) terminal: bool,
    /// There may be many answers, and as many files.
    pub(crate) numbered: bool,
    /// What shows or saves bytes that a person does not see: where they can be saved, and are not.
    pub(crate) hint: &'static str,
}

/// Of answers, which are what is saved.
pub(crate) const OUT_SAVES: &str = "--out FILE saves them";

/// Shows the answers of one call, one by one.
pub(crate) struct Show<'a> {
    style: Style,
    screen: &'a mut (dyn Write + Send),
    saved: usize,
}

impl<'a> Show<'a> {
    pub(crate) fn new(style: Style, screen: &'a mut (dyn Write + Send)) -> Self {
        Self { style, screen, saved: 0 }
    }

    pub(crate) fn answer(&mut self, message: &DynamicMessage) -> anyhow::Result<()> {
        let mut value = json::render(message)?;
        self.shorten(&prost_reflect::ReflectMessage::descriptor(message), &mut value)?;
        let text = if self.style.compact {
            serde_json::to_string(&value)?
        } else {
            serde_json::to_string_pretty(&value)?
        };
        writeln!(self.screen, "{text}")?;
        Ok(self.screen.flush()?)
    }

    /// Ends the call; what was to be saved has to have come.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        match self.style.save {
            Some(path) if self.saved == 0 => anyhow::bail!("{}: not written, no bytes came", path.display()),
            _ => Ok(()),
        }
    }

    /// Saves the longest bytes, which are what the answer is about, and takes the rest off a person's sight.
    fn shorten(&mut self, descriptor: &MessageDescriptor, value: &mut Value) -> anyhow::Result<()> {
        let hide = self.style.terminal && !self.style.compact;
        let mut unsaved = self.style.save.as_deref().map(|path| self.file(path));
        let longest = longest(descriptor, value)?;
        let (mut at, mut saved) = (0, 0);
        json::each_bytes(descriptor, value, "", &mut |_, text| {
            at += 1;
            if text.is_empty() {
                return Ok(());
            }
            if at == longest
                && let Some(path) = unsaved.take()
            {
                saved = 1;
                return save(text, &path);
            }
            if hide {
                hide_long(text, self.style.save.is_none().then_some(self.style.hint))?;
            }
            Ok(())
        })?;
        self.saved += saved;
        Ok(())
    }

    fn file(&self, path: &Path) -> PathBuf {
        if self.style.numbered { numbered(path, self.saved + 1) } else { path.to_owned() }
    }
}

/// Which of the bytes fields is the longest, counted from one: the body of a fetched page, not one of its headers.
fn longest(descriptor: &MessageDescriptor, value: &mut Value) -> anyhow::Result<usize> {
    let (mut at, mut longest) = (0, (0, 0));
    json::each_bytes(descriptor, value, "", &mut |_, text| {
        at += 1;
        if text.len() > longest.0 {
            longest = (text.len(), at);
        }
        Ok(())
    })?;
    Ok(longest.1)
}

/// Seen before a call is made whose bytes nobody could save. It writes nothing, and leaves no file.
pub(crate) fn check_can_be_written(path: &Path) -> anyhow::Result<()> {
    let seen: io::Result<()> = match path.metadata() {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().append(true).open(path).map(drop),
        // A pipe would wait for its reader.
        Ok(_) => Ok(()),
        Err(_) => match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => folder.metadata().map(drop),
            None => Ok(()),
        },
    };
    seen.with_context(|| format!("cannot write {}", path.display()))
}

fn save(text: &mut String, path: &Path) -> anyhow::Result<()> {
    let bytes = json::decode(text)?;
    std::fs::write(path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    *text = format!("<{} bytes, in {}>", bytes.len(), path.display());
    Ok(())
}

fn hide_long(text: &mut String, hint: Option<&str>) -> anyhow::Result<()> {
    let length = json::decode(text)?.len();
    if length > SHOWN_BYTES {
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        *text = format!("<{length} bytes{hint}>");
    }
    Ok(())
}

/// "frames/cat.jpg" and 2: "frames/cat-2.jpg".
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::{OUT_SAVES, Show, Style, check_can_be_written, numbered};
    use crate::call::json;
    use crate::call::json::tests::{album, picture};
    use std::path::Path;

    fn shown(style: Style, text: &str) -> String {
        let mut screen = Vec::new();
        let message = json::parse(&album(), text).unwrap();
        let mut show = Show::new(style, &mut screen);
        show.answer(&message).unwrap();
        show.finish().unwrap();
        String::from_utf8(screen).unwrap()
    }

    fn plain() -> Style {
        Style { save: None, compact: false, terminal: false, numbered: false, hint: OUT_SAVES }
    }

    fn long_album() -> String {
        let long = "A".repeat(400);
        format!(
            r#"{{"title":"cats","cover":{{"body":"{long}"}},"pages":[{{"body":"AAEC"}},{{"body":"{long}"}}]}}"#
        )
    }

    #[test]
    fn fields_keep_the_order_of_their_numbers() {
        let text = shown(Style { compact: true, ..plain() }, r#"{"pages":[{"body":"AAEC"}],"title":"x"}"#);
        assert_eq!(text, "{\"title\":\"x\",\"pages\":[{\"body\":\"AAEC\"}]}\n");
    }

    #[test]
    fn a_person_sees_long_bytes_as_their_length_and_a_program_sees_them() {
        let person = shown(Style { terminal: true, ..plain() }, &long_album());
        assert_eq!(person.matches("\"<300 bytes; --out FILE saves them>\"").count(), 2, "{person}");
        assert!(person.contains("\"AAEC\"") && person.contains("\n  \"title\": \"cats\""), "{person}");
        for style in [plain(), Style { terminal: true, compact: true, ..plain() }] {
            assert_eq!(shown(style, &long_album()).matches(&"A".repeat(400)).count(), 2);
        }
    }

    #[test]
    fn of_several_bytes_the_longest_are_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("page.bin");
        let style = Style { save: Some(path.clone()), ..plain() };
        let text = format!(
            r#"{{"cover":{{"body":"AA=="}},"pages":[{{"body":"{}"}},{{"body":"AAEC"}}]}}"#,
            "A".repeat(40)
        );
        shown(style, &text);
        assert_eq!(std::fs::read(&path).unwrap(), [0; 30]);
    }

    #[test]
    fn of_equally_long_bytes_the_first_are_saved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cat.jpg");
        let style = Style { save: Some(path.clone()), terminal: true, ..plain() };
        let text = shown(style, &long_album());
        assert_eq!(std::fs::read(&path).unwrap(), [0; 300]);
        assert!(text.contains(&format!("\"<300 bytes, in {}>\"", path.display())), "{text}");
        assert!(text.contains("\"<300 bytes>\""), "{text}");
    }

    #[test]
    fn a_stream_is_saved_to_numbered_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut screen = Vec::new();
        let style = Style { save: Some(dir.path().join("frame.bin")), numbered: true, ..plain() };
        let mut show = Show::new(style, &mut screen);
        for text in [r#"{"body":"AA=="}"#, "{}", r#"{"body":"AQ=="}"#] {
            show.answer(&json::parse(&picture(), text).unwrap()).unwrap();
        }
        show.finish().unwrap();
        assert_eq!(std::fs::read(dir.path().join("frame-1.bin")).unwrap(), [0]);
        assert_eq!(std::fs::read(dir.path().join("frame-2.bin")).unwrap(), [1]);
    }

    #[test]
    fn nothing_to_save_is_an_error_once_the_answer_was_shown() {
        let mut screen = Vec::new();
        let style = Style { save: Some("/nowhere/cat.jpg".into()), ..plain() };
        let mut show = Show::new(style, &mut screen);
        show.answer(&json::parse(&picture(), "{}").unwrap()).unwrap();
        assert_eq!(show.finish().unwrap_err().to_string(), "/nowhere/cat.jpg: not written, no bytes came");
        assert_eq!(screen, b"{}\n");
    }

    #[test]
    fn what_cannot_be_written_is_seen_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cat.jpg");
        check_can_be_written(&path).unwrap();
        assert!(!path.exists());
        std::fs::write(&path, "cat").unwrap();
        check_can_be_written(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"cat");
        for wrong in [dir.path().to_owned(), dir.path().join("none/cat.jpg")] {
            let error = check_can_be_written(&wrong).unwrap_err().to_string();
            assert_eq!(error, format!("cannot write {}", wrong.display()));
        }
    }

    #[test]
    fn numbers_come_before_the_extension() {
        assert_eq!(numbered(Path::new("a/cat.jpg"), 2), Path::new("a/cat-2.jpg"));
        assert_eq!(numbered(Path::new("cat"), 1), Path::new("cat-1"));
        assert_eq!(numbered(Path::new("x.tar.gz"), 3), Path::new("x.tar-3.gz"));
    }
}
