//! What is given to the node is no service.

struct Web;

fn main() {
    turno::node("web").service(|| Web);
}
