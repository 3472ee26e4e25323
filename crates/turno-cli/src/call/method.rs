//! The METHOD that a user names: how it may be written, and the search for it among what a service has.

use anyhow::{anyhow, bail};
use prost_reflect::{MethodDescriptor, ServiceDescriptor};

use super::nearest;

/// A method's full name in its two parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) service: String,
    pub(crate) method: String,
}

impl Name {
    /// Reads `pkg.Service/Method`, `/pkg.Service/Method` or `pkg.Service.Method`.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let bare = text.strip_prefix('/').unwrap_or(text);
        match bare.split_once('/').or_else(|| bare.rsplit_once('.')) {
            Some((service, method)) if is_name(service) && is_name(method) && !method.contains('.') => {
                Ok(Self { service: service.to_owned(), method: method.to_owned() })
            }
            _ => bail!(
                "{text:?} names no method; write it as package.Service/Method, as `turno methods` shows them"
            ),
        }
    }

    /// The method, if the service has it.
    pub(crate) fn find(&self, service: &ServiceDescriptor) -> anyhow::Result<MethodDescriptor> {
        service.methods().find(|method| method.name() == self.method).ok_or_else(|| self.unknown(service))
    }

    fn unknown(&self, service: &ServiceDescriptor) -> anyhow::Error {
        let known = methods(service);
        let hint = nearest::hint(&self.method, known.iter().map(String::as_str));
        anyhow!("{} has no method {}{hint}\nit has: {}", self.service, self.method, known.join(", "))
    }
}

/// A service was named, and no method of it.
pub(crate) fn missing(service: &ServiceDescriptor) -> anyhow::Error {
    let (name, known) = (service.full_name(), methods(service).join(", "));
    anyhow!("{name} is a service, and the method is missing: write {name}/Method\nit has: {known}")
}

fn methods(service: &ServiceDescriptor) -> Vec<String> {
    service.methods().map(|method| method.name().to_owned()).collect()
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.method)
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn every_spelling_is_read() {
        for text in
            ["gallery.v1.Gallery/Thumbnail", "/gallery.v1.Gallery/Thumbnail", "gallery.v1.Gallery.Thumbnail"]
        {
            assert_eq!(Name::parse(text).unwrap().to_string(), "gallery.v1.Gallery/Thumbnail");
        }
        assert_eq!(Name::parse("Echo/Say").unwrap(), Name { service: "Echo".into(), method: "Say".into() });
    }

    #[test]
    fn what_names_no_method_is_refused() {
        for text in ["", "/", "Thumbnail", "a.b/", "/x", "a/b/c", "a b/c", "a/b.c", "http://x/y", "1a/b"] {
            let error = Name::parse(text).unwrap_err().to_string();
            assert!(error.contains("package.Service/Method"), "{text}: {error}");
        }
    }
}
