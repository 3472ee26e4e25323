//! The descriptors that nodes bring, merged file by file for reflection. A file is known by its name; when two nodes
//! bring different ones under the same name, the newest counts. Files stay as they came: decoded and encoded again
//! they would lose the options that prost-types does not know, `(turno.v1.method)` among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use prost::{DecodeError, Message as _};
use prost_types::FileDescriptorProto;

use crate::reflection::{Reflection, full_name};

/// All files known, by name.
type Files = BTreeMap<String, Bytes>;

/// "gallery.v1.Picture", by "gallery.v1.Gallery/Thumbnail".
type Answers = HashMap<String, Arc<str>>;

/// What is known, and who answers with it.
#[derive(Clone)]
pub(crate) struct Descriptors {
    files: Arc<Mutex<Files>>,
    answers: Arc<Mutex<Answers>>,
    reflection: Reflection,
}

impl Descriptors {
    pub(crate) fn new(reflection: Reflection) -> Self {
        Self { files: Arc::default(), answers: Arc::default(), reflection }
    }

    /// The full name of the message that `method` answers, if a node has ever brought its description.
    pub(crate) fn answer_of(&self, method: &str) -> Option<Arc<str>> {
        self.answers.lock().get(method).cloned()
    }

    /// What a node brings. A set that is no set is left out, and said so: its methods work, but are not described.
    pub(crate) fn add(&self, sets: &[Bytes]) {
        let mut known = self.files.lock();
        let mut files = known.clone();
        for set in sets {
            match split(set) {
                Ok(set) => files.extend(set),
                Err(error) => tracing::warn!(%error, "a node brought descriptors that cannot be read"),
            }
        }
        if files != *known {
            match self.reflection.replace(&join(&files)) {
                Ok(()) => {
                    self.answers.lock().extend(answers(&files));
                    *known = files;
                }
                Err(error) => tracing::warn!(%error, "reflection cannot describe what a node brought"),
            }
        }
    }
}

/// What the methods of `files` answer. Each has been decoded before.
fn answers(files: &Files) -> Answers {
    let mut answers = Answers::new();
    for file in files.values().filter_map(|file| FileDescriptorProto::decode(file.clone()).ok()) {
        for service in &file.service {
            let name = full_name(&file, service.name());
            answers.extend(service.method.iter().map(|method| {
                let answer = method.output_type().trim_start_matches('.');
                (format!("{name}/{}", method.name()), answer.into())
            }));
        }
    }
    answers
}

/// A `google.protobuf.FileDescriptorSet` on the wire, its files still encoded.
#[derive(Clone, PartialEq, prost::Message)]
struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

fn split(set: &Bytes) -> Result<Files, DecodeError> {
    let files = FileSet::decode(set.clone())?.file.into_iter();
    let named = |file: Bytes| Ok((FileDescriptorProto::decode(file.clone())?.name().to_owned(), file));
    files.map(named).collect()
}

fn join(files: &Files) -> Vec<u8> {
    FileSet { file: files.values().cloned().collect() }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::{Bytes, FileSet, Files, answers, join, split};
    use prost::Message as _;
    use prost_types::{
        FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto,
    };

    /// A file with an option, number 50870, that prost-types does not know.
    fn file(name: &str) -> Vec<u8> {
        let known = FileDescriptorProto { name: Some(name.to_owned()), ..FileDescriptorProto::default() };
        let mut file = known.encode_to_vec();
        prost::encoding::string::encode(50_870, &"kept".to_owned(), &mut file);
        file
    }

    #[test]
    fn a_file_stays_as_it_came_to_the_byte() {
        let set = FileSet { file: vec![file("b.proto").into(), file("a.proto").into()] }.encode_to_vec();
        let files = split(&Bytes::from(set)).unwrap();
        assert_eq!(
            files,
            Files::from(["a.proto", "b.proto"].map(|name| (name.to_owned(), file(name).into())))
        );
        let joined = FileDescriptorSet::decode(join(&files).as_slice()).unwrap();
        assert_eq!(
            joined.file.iter().map(FileDescriptorProto::name).collect::<Vec<_>>(),
            ["a.proto", "b.proto"]
        );
        assert_eq!(split(&join(&files).into()).unwrap(), files);
    }

    #[test]
    fn what_a_method_answers_is_known_by_its_name() {
        let method = MethodDescriptorProto {
            name: Some("Bake".into()),
            output_type: Some(".kitchen.v1.Dish".into()),
            ..MethodDescriptorProto::default()
        };
        let service =
            ServiceDescriptorProto { name: Some("Oven".into()), method: vec![method], options: None };
        let file = |package: &str| {
            let package = Some(package.to_owned()).filter(|package| !package.is_empty());
            let service = vec![service.clone()];
            FileDescriptorProto { package, service, ..FileDescriptorProto::default() }.encode_to_vec().into()
        };
        let files = Files::from([("a".to_owned(), file("kitchen.v1")), ("b".to_owned(), file(""))]);
        let answers = answers(&files);
        assert_eq!(&*answers["kitchen.v1.Oven/Bake"], "kitchen.v1.Dish");
        assert_eq!(&*answers["Oven/Bake"], "kitchen.v1.Dish");
    }

    #[test]
    fn what_is_no_set_is_an_error() {
        split(&Bytes::from_static(b"\x0a\x7fno set")).unwrap_err();
        split(&Bytes::from_static(b"\x0a\x02\xff\xff")).unwrap_err();
    }
}
