//! Who wants to see rows and pages before they are gone.

use alacritty_terminal::{grid::Grid, term::cell::Cell};

/// Sees what is about to leave the screen.
pub(crate) trait Watch {
    /// False compiles the calls away.
    const ON: bool = true;
    /// Lines have scrolled off the primary screen into the grid's history, which may be emptied.
    fn scrolled(&mut self, primary: &mut Grid<Cell>);
    /// The page is about to be cleared.
    fn cleared(&mut self, page: &Grid<Cell>, alternate: bool);
    /// The alternate screen's page may be about to be drawn anew, in part or as a whole.
    fn redrawn(&mut self, alternate: &Grid<Cell>);
    /// The alternate screen takes the place of the primary one.
    fn entered(&mut self, primary: &Grid<Cell>);
    /// The primary screen is about to come back.
    fn left(&mut self, alternate: &Grid<Cell>);
}

impl Watch for () {
    const ON: bool = false;
    fn scrolled(&mut self, _: &mut Grid<Cell>) {}
    fn cleared(&mut self, _: &Grid<Cell>, _: bool) {}
    fn redrawn(&mut self, _: &Grid<Cell>) {}
    fn entered(&mut self, _: &Grid<Cell>) {}
    fn left(&mut self, _: &Grid<Cell>) {}
}
