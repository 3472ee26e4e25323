//! The attribute on the struct.

#[turno::service(http)]
struct Web {
    limit: usize,
}

fn main() {}
