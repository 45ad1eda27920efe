//! Showing plans and layouts to people.
//!
//! Input: a [`crate::plan::Plan`] (and the lengths of the boards' axes). [`view`] turns it into the lines and bars to show, with what is alike
//! grouped; [`text`] and [`svg`] only draw a view, so both show the same. Nothing here plans, and nothing here prints.

pub(crate) mod bar;
pub(crate) mod names;
pub(crate) mod svg;
pub(crate) mod text;
pub(crate) mod view;

pub(crate) use view::{Axes, View};
