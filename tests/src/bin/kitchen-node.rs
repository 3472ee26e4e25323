//! The kitchen as a process, to be killed.

fn main() -> turno::ExitCode {
    turno::node("kitchen").service(turno_tests::kitchen::Kitchen::default).run()
}
