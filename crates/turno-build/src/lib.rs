//! The `build.rs` helper of Turno. One line compiles the `.proto` files of a package into messages, a marker for
//! each rpc and, for each service, the struct that `#[turno::service]` fills. No `protoc` is needed.
//!
//! ```no_run
//! fn main() -> Result<(), turno_build::Error> {
//!     turno_build::compile(&["proto/gallery.proto"])
//! }
//! ```
//!
//! In the package, `turno::include_proto!("gallery.v1")` brings what was generated for the proto package `gallery.v1`.
//!
//! What a method wants of the mesh stands beside its rpc. `import "turno/v1/options.proto";` is answered from this crate:
//!
//! ```proto
//! rpc Thumbnail(ThumbnailRequest) returns (Picture) {
//!   option (turno.v1.method) = { timeout: "2s" concurrency: 16 };
//! }
//! ```

mod options;
mod policy;
mod services;

use std::fmt;
use std::path::{Path, PathBuf};

use prost_types::FileDescriptorSet;

use crate::policy::Policies;

/// Why a `.proto` could not be compiled. Its `Debug` is made for people, since that is what cargo prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The `.proto` has a mistake; file, line and column are named.
    #[error("{:?}{}", .0, options::hint(.0))]
    Proto(Box<protox::Error>),
    /// `option (turno.v1.method)` asks for what cannot be.
    #[error("{}", mistakes.join("\n"))]
    Policy {
        /// "shop.proto:12: rpc shop.v1.Shop/Sell: (turno.v1.method) timeout: …"
        mistakes: Vec<String>,
    },
    /// The generated code could not be written.
    #[error("cannot write the generated code: {0}")]
    Write(#[from] std::io::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<protox::Error> for Error {
    fn from(error: protox::Error) -> Self {
        Self::Proto(Box::new(error))
    }
}

/// Compiles `protos`. Imports are looked for below the folder `proto` in each path, else in the file's own folder.
pub fn compile(protos: &[impl AsRef<Path>]) -> Result<(), Error> {
    Builder::new().compile(protos)
}

/// [`compile`] with settings.
#[derive(Debug)]
pub struct Builder {
    includes: Vec<PathBuf>,
    turno: String,
    out_dir: Option<PathBuf>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// Settings as [`compile`] has them.
    pub fn new() -> Self {
        Self { includes: Vec::new(), turno: "::turno".to_owned(), out_dir: None }
    }

    /// A folder in which imports are looked for.
    pub fn include(mut self, folder: impl Into<PathBuf>) -> Self {
        self.includes.push(folder.into());
        self
    }

    /// The path by which generated code names the SDK: `::turno` unless it is renamed.
    pub fn turno_path(mut self, path: impl Into<String>) -> Self {
        self.turno = path.into();
        self
    }

    /// Where to write: cargo's `OUT_DIR` unless set.
    pub fn out_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out_dir = Some(folder.into());
        self
    }

    /// Compiles `protos`.
    pub fn compile(self, protos: &[impl AsRef<Path>]) -> Result<(), Error> {
        let includes = self.folders(protos);
        for folder in &includes {
            rerun_if_changed(folder);
        }
        let mut compiler = options::compiler(includes);
        compiler.include_imports(true).include_source_info(true).open_files(protos)?;
        let descriptors = compiler.file_descriptor_set();
        let policies = Policies::read(&compiler.descriptor_pool())?;
        self.generate(descriptors, policies, &compiler.encode_file_descriptor_set())
    }

    fn generate(
        self,
        mut descriptors: FileDescriptorSet,
        policies: Policies,
        encoded: &[u8],
    ) -> Result<(), Error> {
        let out = self.out_dir.or_else(|| std::env::var_os("OUT_DIR").map(PathBuf::from));
        let out = out.ok_or_else(|| std::io::Error::other("OUT_DIR is not set: call this from build.rs"))?;
        // Of the options no Rust is made; reflection's clients read them in `encoded`.
        descriptors.file.retain(|file| file.name() != options::NAME);
        let mut packages: Vec<&str> = descriptors
            .file
            .iter()
            .filter(|file| !file.service.is_empty())
            .map(|file| file.package())
            .collect();
        packages.dedup();
        for package in packages {
            std::fs::write(out.join(services::descriptors_name(package)), encoded)?;
        }
        prost_build::Config::new()
            .out_dir(&out)
            .bytes(["."])
            .prost_path(format!("{}::prost", self.turno))
            .prost_types_path(format!("{}::prost_types", self.turno))
            .service_generator(Box::new(services::Services::new(&self.turno, policies)))
            .compile_fds(descriptors)?;
        Ok(())
    }

    fn folders(&self, protos: &[impl AsRef<Path>]) -> Vec<PathBuf> {
        let mut folders = self.includes.clone();
        for proto in protos {
            let folder = include_folder(proto.as_ref());
            if !folders.iter().any(|known| proto.as_ref().starts_with(known)) {
                folders.push(folder);
            }
        }
        folders
    }
}

#[expect(clippy::print_stdout, reason = "cargo reads what a build script prints")]
fn rerun_if_changed(folder: &Path) {
    println!("cargo:rerun-if-changed={}", folder.display());
}

/// "proto" for "proto/gallery/v1/gallery.proto", else the folder that the file is in.
fn include_folder(proto: &Path) -> PathBuf {
    let named =
        proto.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name == "proto"));
    let folder = named.or_else(|| proto.parent()).unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

#[cfg(test)]
mod tests;
