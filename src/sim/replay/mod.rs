pub mod fleet;
pub mod generate;
pub mod openb;
pub mod trace;
