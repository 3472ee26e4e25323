//! The descriptors that nodes bring, merged file by file for reflection. A file is known by its name; when two nodes
//! bring different ones under the same name, the newest counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

use crate::reflection::Reflection;

/// All files known.
#[derive(Clone)]
pub(crate) struct Descriptors {
    files: Arc<Mutex<BTreeMap<String, FileDescriptorProto>>>,
    reflection: Reflection,
}

impl Descriptors {
    pub(crate) fn new(reflection: Reflection) -> Self {
        Self { files: Arc::default(), reflection }
    }

    /// What a node brings. A set that is no set is left out, and said so: its methods work, but are not described.
    pub(crate) fn add(&self, sets: &[Bytes]) {
        let mut known = self.files.lock();
        let (mut files, mut changed) = (known.clone(), false);
        for set in sets {
            match FileDescriptorSet::decode(set.clone()) {
                Ok(set) => changed |= merge(&mut files, set),
                Err(error) => tracing::warn!(%error, "a node brought descriptors that cannot be read"),
            }
        }
        if changed {
            let set = FileDescriptorSet { file: files.values().cloned().collect() };
            match self.reflection.replace(set) {
                Ok(()) => *known = files,
                Err(error) => tracing::warn!(%error, "reflection cannot describe what a node brought"),
            }
        }
    }
}

/// Whether anything was new.
fn merge(files: &mut BTreeMap<String, FileDescriptorProto>, set: FileDescriptorSet) -> bool {
    let mut changed = false;
    for file in set.file {
        if files.get(file.name()) != Some(&file) {
            files.insert(file.name().to_owned(), file);
            changed = true;
        }
    }
    changed
}
