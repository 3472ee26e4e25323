//! The attribute on a trait's impl block.

struct Web;

#[turno::service(http)]
impl Default for Web {
    fn default() -> Self {
        Self
    }
}

fn main() {}
