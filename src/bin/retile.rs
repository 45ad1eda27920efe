//! The command line tool; also found by kubectl as `kubectl-retile`.

fn main() -> std::process::ExitCode {
    retile::cli::main()
}
