//! The text generated for a service: a module with a marker for each rpc and a struct `Methods` with a field for
//! each rpc. `#[turno::service]` emits a literal of that struct, so that rustc itself checks what was implemented.

use std::fmt::{self, Write as _};

use heck::ToSnakeCase as _;
use prost_build::{Comments, Method, Service, ServiceGenerator};
use prost_types::MethodOptions;
use prost_types::method_options::IdempotencyLevel;

use crate::policy::Policies;

/// The file in `OUT_DIR` with the descriptors that reflection needs for `package`.
pub(crate) fn descriptors_name(package: &str) -> String {
    format!("{package}.descriptors.bin")
}

/// Writes one module a service.
pub(crate) struct Services {
    turno: String,
    policies: Policies,
}

impl Services {
    /// `turno`: the path by which the SDK is named.
    pub(crate) fn new(turno: &str, policies: Policies) -> Self {
        Self { turno: turno.to_owned(), policies }
    }

    fn module(&self, service: &Service, out: &mut String) -> fmt::Result {
        let name = service.name.to_snake_case();
        docs(
            out,
            "",
            &service.comments,
            &format!("The rpcs of `{}.{}`.", service.package, service.proto_name),
        )?;
        writeln!(out, "pub mod {name} {{")?;
        for method in &service.methods {
            self.marker(service, method, out)?;
        }
        self.methods(service, out)?;
        writeln!(out, "}}")
    }

    fn marker(&self, service: &Service, method: &Method, out: &mut String) -> fmt::Result {
        let turno = &self.turno;
        let (marker, request, response) =
            (&method.proto_name, from_module(&method.input_type), from_module(&method.output_type));
        let name = format!("{}.{}/{}", service.package, service.proto_name, method.proto_name);
        let takes = if method.client_streaming { "TakesStream" } else { "TakesOne" };
        let answers = if method.server_streaming { "AnswersStream" } else { "AnswersOne" };
        docs(out, "    ", &method.comments, &format!("The rpc `{name}`."))?;
        writeln!(out, "    #[derive(Clone, Copy, Debug)]\n    pub struct {marker};")?;
        writeln!(out, "    impl {turno}::Rpc for {marker} {{")?;
        writeln!(out, "        type Request = {request};\n        type Response = {response};")?;
        writeln!(out, "        const NAME: &'static str = \"{name}\";")?;
        writeln!(out, "        const PATH: &'static str = \"/{name}\";")?;
        let response = method.output_proto_type.trim_start_matches('.');
        writeln!(out, "        const RESPONSE: &'static str = \"{response}\";")?;
        if let Some(policy) = self.policies.expression(&name, turno) {
            writeln!(out, "        const POLICY: {turno}::rpc::Policy = {policy};")?;
        }
        writeln!(out, "        const REPEATABLE: bool = {};\n    }}", is_repeatable(&method.options))?;
        // A mistake is about one rpc: rustc shall not list the others.
        for shape in [takes, answers] {
            writeln!(
                out,
                "    #[diagnostic::do_not_recommend]\n    impl {turno}::rpc::{shape} for {marker} {{}}"
            )?;
        }
        Ok(())
    }

    fn methods(&self, service: &Service, out: &mut String) -> fmt::Result {
        let turno = &self.turno;
        let (package, name) = (&service.package, &service.proto_name);
        writeln!(out, "    /// One field for each rpc: filled by `#[turno::service]`.")?;
        writeln!(out, "    pub struct Methods<S> {{")?;
        for Method { name, proto_name, .. } in &service.methods {
            writeln!(
                out,
                "        /// [`{proto_name}`]\n        pub {name}: {turno}::service::Method<S, {proto_name}>,"
            )?;
        }
        writeln!(out, "    }}\n    impl<S: {turno}::Service> Methods<S> {{")?;
        writeln!(out, "        /// The table by which a node finds the methods of `service`.")?;
        writeln!(out, "        pub fn bind(self, service: S) -> {turno}::service::Table {{")?;
        writeln!(out, "            let service = ::std::sync::Arc::new(service);")?;
        writeln!(
            out,
            "            {turno}::service::Table::new(\"{package}.{name}\", DESCRIPTORS, ::std::vec!["
        )?;
        for Method { name, .. } in &service.methods {
            writeln!(out, "                self.{name}.bind(&service),")?;
        }
        writeln!(out, "            ])\n        }}\n    }}")?;
        let file = descriptors_name(package);
        // Relative to the generated file, wherever `Builder::out_dir` has put it.
        writeln!(out, "    const DESCRIPTORS: &[u8] = ::std::include_bytes!(\"{file}\");")
    }
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, buf: &mut String) {
        self.module(&service, buf).expect("a string takes all that is written to it");
    }
}

/// A type as it is named one module further in.
fn from_module(path: &str) -> String {
    if path.starts_with("::") || path == "()" { path.to_owned() } else { format!("super::{path}") }
}

/// Whether `idempotency_level` allows running the method again.
pub(crate) fn is_repeatable(options: &MethodOptions) -> bool {
    matches!(options.idempotency_level(), IdempotencyLevel::NoSideEffects | IdempotencyLevel::Idempotent)
}

fn docs(out: &mut String, indent: &str, comments: &Comments, otherwise: &str) -> fmt::Result {
    if comments.leading.is_empty() {
        return writeln!(out, "{indent}/// {otherwise}");
    }
    for line in &comments.leading {
        writeln!(out, "{indent}#[doc = {line:?}]")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! The SDK's compile-fail cases have no build script: what they include stays what is generated.

    use std::path::Path;

    #[test]
    fn the_cases_of_the_sdk_include_what_is_generated() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../turno/tests/ui/streams");
        let made = tempfile::tempdir().unwrap();
        crate::Builder::new().out_dir(made.path()).compile(&[kept.join("clock.proto")]).unwrap();
        let [made, kept] = [made.path(), &kept].map(|folder| code(&folder.join("clock.v1.rs")));
        assert_eq!(made, kept, "generate crates/turno/tests/ui/streams anew from clock.proto");
    }

    /// Without comments: how prost writes them depends on its features, and so on what is built beside this.
    fn code(file: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
    }
}
