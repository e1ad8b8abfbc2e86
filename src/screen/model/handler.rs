//! What each sequence does: most go to `Term` as they are, some are noted or set right on the way.

use alacritty_terminal::vte::ansi::{
    Attr, CharsetIndex, ClearMode, CursorShape, CursorStyle, Handler, Hyperlink, KeyboardModes,
    KeyboardModesApplyBehavior, LineClearMode, Mode, ModifyOtherKeys, NamedColor, NamedPrivateMode,
    PrivateMode, Rgb, StandardCharset, TabulationClearMode,
};

use super::{LINK_BUDGET, Model, STACK_LIMIT, TAB, TITLE_LIMIT, URI_LIMIT, Watch, inert, push_bounded};

/// Methods that `Term` answers alone.
macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        #[inline]
        fn $name(&mut self, $($argument: $kind),*) {
            Handler::$name(&mut self.term, $($argument),*);
        }
    )*};
}

impl<W: Watch> Handler for Model<W> {
    delegate! {
        carriage_return();
        backspace();
        terminal_attribute(attr: Attr);
        goto_line(line: i32);
        move_forward(cols: usize);
        move_backward(cols: usize);
        move_forward_tabs(count: u16);
        insert_blank_lines(lines: usize);
        scroll_down(lines: usize);
        reverse_index();
        save_cursor_position();
        restore_cursor_position();
        set_mode(mode: Mode);
        unset_mode(mode: Mode);
        set_keypad_application_mode();
        unset_keypad_application_mode();
        configure_charset(index: CharsetIndex, charset: StandardCharset);
        set_cursor_style(style: Option<CursorStyle>);
        set_cursor_shape(shape: CursorShape);
        set_color(index: usize, color: Rgb);
        reset_color(index: usize);
        set_keyboard_mode(mode: KeyboardModes, behavior: KeyboardModesApplyBehavior);
        report_keyboard_mode();
        report_mode(mode: Mode);
        report_private_mode(mode: PrivateMode);
        identify_terminal(intermediate: Option<char>);
        device_status(status: usize);
        text_area_size_chars();
    }

    #[inline]
    fn input(&mut self, c: char) {
        if self.work == 0 {
            return;
        }
        self.work -= 1;
        if W::ON {
            self.printed += 1;
        }
        if self.print_plainly(c) {
            return;
        }
        // None of the symbols and box drawings in the second range combines.
        if c >= '\u{300}' && !('\u{2100}'..='\u{2bff}').contains(&c) && self.is_crowded(c) {
            return;
        }
        self.term.input(c);
        self.off_screen();
    }

    #[inline]
    fn linefeed(&mut self) {
        if W::ON && self.cursor().0.0 as usize + 1 == self.region.end {
            self.redrawing();
        }
        self.term.linefeed();
        self.off_screen();
    }

    fn put_tab(&mut self, count: u16) {
        self.term.put_tab(count);
        self.off_screen();
    }

    fn scroll_up(&mut self, lines: usize) {
        self.term.scroll_up(lines);
        self.off_screen();
    }

    fn delete_lines(&mut self, lines: usize) {
        self.term.delete_lines(lines);
        self.off_screen();
    }

    #[inline]
    fn goto(&mut self, line: i32, col: usize) {
        if line == 0 && col == 0 {
            self.redrawing();
        }
        self.term.goto(line, col);
    }

    fn goto_col(&mut self, col: usize) {
        self.term.carriage_return();
        self.term.move_forward(col);
    }

    fn move_up(&mut self, rows: usize) {
        self.vertical(-(rows as i32), self.cursor().1);
    }

    fn move_down(&mut self, rows: usize) {
        self.vertical(rows as i32, self.cursor().1);
    }

    fn move_up_and_cr(&mut self, rows: usize) {
        self.vertical(-(rows as i32), 0);
    }

    fn move_down_and_cr(&mut self, rows: usize) {
        self.vertical(rows as i32, 0);
    }

    fn move_backward_tabs(&mut self, count: u16) {
        self.term.move_backward_tabs(count);
        self.term.grid_mut().cursor.input_needs_wrap = false;
    }

    fn insert_blank(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(self.cols() - count.min(self.cols() - col));
        self.term.insert_blank(count);
    }

    fn erase_chars(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(col + count);
        self.term.erase_chars(count);
    }

    fn delete_chars(&mut self, count: usize) {
        let col = self.cursor().1;
        self.split(col);
        self.split(col + count);
        // Beyond the end of the row, `Term` would clear what lies before the cursor.
        self.term.delete_chars(count.min(self.cols() - col));
    }

    fn clear_line(&mut self, mode: LineClearMode) {
        let col = self.cursor().1;
        match mode {
            LineClearMode::Right => self.split(col),
            LineClearMode::Left => self.split(col + 1),
            LineClearMode::All => {}
        }
        self.term.clear_line(mode);
    }

    fn clear_screen(&mut self, mode: ClearMode) {
        let (line, col) = self.cursor();
        match mode {
            ClearMode::All => {
                self.clearing();
                self.term.grid_mut().reset_region(..);
                return;
            }
            ClearMode::Below => {
                if line.0 == 0 && col == 0 {
                    self.clearing();
                }
                self.split(col);
            }
            ClearMode::Above => {
                self.split(col + 1);
                // `Term` leaves out the first row if the cursor is in the second.
                if line.0 == 1 {
                    self.term.grid_mut().reset_region(..line);
                }
            }
            ClearMode::Saved => {}
        }
        self.term.clear_screen(mode);
    }

    fn set_horizontal_tabstop(&mut self) {
        let col = self.cursor().1;
        self.tabs[col] = true;
        self.term.set_horizontal_tabstop();
    }

    fn clear_tabs(&mut self, mode: TabulationClearMode) {
        match mode {
            TabulationClearMode::Current => {
                let col = self.cursor().1;
                self.tabs[col] = false;
            }
            TabulationClearMode::All => self.tabs.fill(false),
        }
        self.term.clear_tabs(mode);
    }

    fn set_scrolling_region(&mut self, top: usize, bottom: Option<usize>) {
        let bottom = bottom.map_or(self.rows(), |bottom| bottom.min(self.rows()));
        if top < bottom {
            self.region = top - 1..bottom;
            self.term.set_scrolling_region(top, Some(bottom));
        }
    }

    fn set_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor)
            | PrivateMode::Unknown(47 | 1047) => self.enter_alternate(),
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => {
                self.redrawing();
                self.sync = true;
            }
            PrivateMode::Unknown(1048) => self.term.save_cursor_position(),
            PrivateMode::Unknown(mode) => self.set_foreign(mode, true),
            mode => self.term.set_private_mode(mode),
        }
    }

    fn unset_private_mode(&mut self, mode: PrivateMode) {
        match mode {
            PrivateMode::Named(NamedPrivateMode::SwapScreenAndSetRestoreCursor)
            | PrivateMode::Unknown(47 | 1047) => self.leave_alternate(),
            PrivateMode::Named(NamedPrivateMode::ColumnMode) => {}
            PrivateMode::Named(NamedPrivateMode::SyncUpdate) => self.sync = false,
            PrivateMode::Unknown(1048) => self.term.restore_cursor_position(),
            PrivateMode::Unknown(mode) => self.set_foreign(mode, false),
            mode => self.term.unset_private_mode(mode),
        }
    }

    fn set_active_charset(&mut self, index: CharsetIndex) {
        self.charset = index;
        self.term.set_active_charset(index);
    }

    fn decaln(&mut self) {
        let cells = (self.cols() * self.rows()) as u32;
        if let Some(left) = self.work.checked_sub(cells) {
            self.work = left;
            self.term.decaln();
        }
    }

    fn reset_state(&mut self) {
        self.clearing();
        self.term.reset_state();
        self.region = 0..self.rows();
        self.tabs = (0..self.cols()).map(|col| col % TAB == 0).collect();
        self.charset = CharsetIndex::G0;
        self.title.clear();
        self.titles.clear();
        self.keyboard = Default::default();
        self.modify_other_keys = 0;
        self.foreign = 0;
        self.sync = false;
    }

    fn set_title(&mut self, title: Option<String>) {
        self.title = inert(&title.unwrap_or_default());
    }

    fn push_title(&mut self) {
        push_bounded(&mut self.titles, self.title.clone());
    }

    fn pop_title(&mut self) {
        if let Some(title) = self.titles.pop() {
            self.title = title;
        }
    }

    fn set_hyperlink(&mut self, link: Option<Hyperlink>) {
        let link = link.filter(|link| {
            let id = link.id.as_deref().unwrap_or_default();
            link.uri.len() <= URI_LIMIT
                && id.len() <= TITLE_LIMIT
                && !(link.uri.chars().chain(id.chars())).any(char::is_control)
        });
        if let Some(link) = &link {
            self.link_bytes += link.uri.len() + link.id.as_ref().map_or(0, String::len);
            if self.link_bytes > LINK_BUDGET {
                self.weigh_links();
            }
        }
        self.term.set_hyperlink(link);
    }

    fn push_keyboard_mode(&mut self, mode: KeyboardModes) {
        if self.keyboard[0].len() == STACK_LIMIT {
            // `Term` has a bound of its own, and panics there.
            self.term.pop_keyboard_modes(STACK_LIMIT as u16);
            for &kept in &self.keyboard[0][1..] {
                self.term.push_keyboard_mode(kept);
            }
        }
        push_bounded(&mut self.keyboard[0], mode);
        self.term.push_keyboard_mode(mode);
    }

    fn pop_keyboard_modes(&mut self, count: u16) {
        let left = self.keyboard[0].len().saturating_sub(count.into());
        self.keyboard[0].truncate(left);
        self.term.pop_keyboard_modes(count);
    }

    fn set_modify_other_keys(&mut self, mode: ModifyOtherKeys) {
        self.modify_other_keys = mode as u8;
    }

    fn report_modify_other_keys(&mut self) {
        self.replies.push(&format!("\x1b[>4;{}m", self.modify_other_keys));
    }

    fn dynamic_color_sequence(&mut self, prefix: String, index: usize, terminator: &str) {
        const LIGHT: Rgb = Rgb { r: 0xe5, g: 0xe5, b: 0xe5 };
        let usual = match index {
            _ if index == NamedColor::Background as usize => Some(Rgb { r: 0, g: 0, b: 0 }),
            _ if index >= NamedColor::Foreground as usize => Some(LIGHT),
            _ => None,
        };
        if let Some(Rgb { r, g, b }) = self.term.colors()[index].or(usual) {
            let color = format!("rgb:{r:02x}{r:02x}/{g:02x}{g:02x}/{b:02x}{b:02x}");
            self.replies.push(&format!("\x1b]{prefix};{color}{terminator}"));
        }
    }
}
