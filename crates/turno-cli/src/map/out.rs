//! FILE of `--out`: opened once, and written by one `turno` at a time.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Open, and locked as long as it is, if it is a file.
#[derive(Debug)]
pub(super) struct Out {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Whether it can be gone on with: not so a pipe, a terminal, /dev/null.
    pub(super) is_file: bool,
}

impl Out {
    pub(super) fn open(path: &Path, resume: bool) -> anyhow::Result<Self> {
        let is_file = is_file(path);
        if resume && !is_file {
            bail!("--resume needs a file, and {} is none", path.display());
        }
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        // A file system that has no locks goes without.
        if is_file && matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            bail!("another turno is writing {}", path.display());
        }
        Ok(Self { path: path.to_owned(), file, is_file })
    }
}

/// As it was given. What is stdin for requests would be a file of that name here.
pub(super) fn named(path: PathBuf) -> Result<PathBuf, &'static str> {
    if path == Path::new("-") {
        return Err("answers go to standard output where --out is left out; a file of that name is ./-");
    }
    Ok(path)
}

/// What a shell has opened is not the program's to go on with, whatever it is.
const OPENED_BEFORE: [&str; 4] = ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc"];

/// Whether it is a file, or will be one.
fn is_file(path: &Path) -> bool {
    let is_other = path.metadata().is_ok_and(|it| !it.is_file());
    !is_other && !OPENED_BEFORE.iter().any(|opened| path.starts_with(opened))
}

#[cfg(test)]
mod tests {
    use super::super::Target;
    use super::{Out, is_file};
    use clap::Parser as _;
    use std::path::Path;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    #[test]
    fn what_is_stdin_elsewhere_is_no_file() {
        let error = Line::try_parse_from(["map", "--out", "-"]).unwrap_err().to_string();
        assert!(error.contains("answers go to standard output where --out is left out"), "{error}");
        let line = Line::try_parse_from(["map", "--out", "./-"]).unwrap();
        assert_eq!(line.target.out.as_deref(), Some(Path::new("./-")));
    }

    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let first = Out::open(&path, false).unwrap();
        for resume in [false, true] {
            let error = Out::open(&path, resume).unwrap_err().to_string();
            assert_eq!(error, format!("another turno is writing {}", path.display()));
        }
        drop(first);
        assert!(Out::open(&path, true).unwrap().is_file);
    }

    #[test]
    fn what_is_no_file_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        for other in [folder.path(), Path::new("/dev/null"), Path::new("/dev/stdout"), Path::new("/dev/fd/1")]
        {
            assert!(!is_file(other), "{}", other.display());
            let error = Out::open(other, true).unwrap_err().to_string();
            assert!(error.starts_with("--resume needs a file, and /"), "{error}");
        }
        let null = Path::new("/dev/null");
        let _both = (Out::open(null, false).unwrap(), Out::open(null, false).unwrap());
    }
}
