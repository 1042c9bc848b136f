//! Takes the terminal and panics: the terminal tests watch that it comes back.

fn main() {
    let _guard = evs_tui::terminal::Guard::take(true).expect("a terminal");
    panic!("on purpose");
}
