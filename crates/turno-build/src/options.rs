//! `turno/v1/options.proto`: part of this crate, so that users import it without having it.

use std::path::PathBuf;

use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

/// As it is imported.
pub(crate) const NAME: &str = "turno/v1/options.proto";
pub(crate) const TEXT: &str = include_str!("../../../proto/turno/v1/options.proto");

/// A compiler that knows Turno's options beside Google's types and what is in `folders`.
pub(crate) fn compiler(folders: Vec<PathBuf>) -> protox::Compiler {
    let mut resolver = ChainFileResolver::new();
    // First: a copy that a user keeps for protoc or an editor, perhaps an old one, is then no second definition.
    resolver.add(Options);
    for folder in folders {
        resolver.add(IncludeFileResolver::new(folder));
    }
    resolver.add(GoogleFileResolver::new());
    protox::Compiler::with_file_resolver(resolver)
}

/// What protox leaves out when the option is not written as it has to be: why.
pub(crate) fn hint(error: &protox::Error) -> &'static str {
    if error.to_string().contains("turno.v1.MethodPolicy") {
        r#"; write { timeout: "2s" concurrency: 16 hedge_after: "50ms" retries: 5 }, or less of it"#
    } else {
        ""
    }
}

/// Finds this one file.
struct Options;

impl FileResolver for Options {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == NAME { File::from_source(NAME, TEXT) } else { Err(protox::Error::file_not_found(name)) }
    }
}
