//! The `weir` program: hands its arguments to [`weir::cli`].

fn main() -> std::process::ExitCode {
    weir::cli::main()
}
