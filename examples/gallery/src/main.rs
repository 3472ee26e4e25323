//! The gallery as a node: `cargo run --release -p gallery` beside a mesh that is up.

fn main() -> turno::ExitCode {
    turno::node("gallery").service(|| gallery::Gallery).run()
}
