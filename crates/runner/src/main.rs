//! The supervisor process of one sandbox. It is started by the engine only, with a socket as
//! standard input; see the library for what it hears and answers.

mod supervisor;

fn main() {
    supervisor::run();
}
