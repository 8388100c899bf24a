//! The stateright explorer on a model.

use crate::checked::Checked;
use crate::report;
use std::net::TcpListener;

/// Serves the explorer on localhost until the program is ended.
pub fn serve(mut model: impl Checked + Send + 'static, port: u16) -> Result<(), String> {
    let address = ("127.0.0.1", port);
    // The explorer would panic; an error that says what to do is better.
    TcpListener::bind(address).map_err(|error| {
        format!("cannot listen on localhost:{port}: {error}; choose another one with --port")
    })?;
    println!("{}", report::heading(&model));
    println!("The explorer is at http://localhost:{port}/ (Control-C ends it).");
    println!("\"Run to completion\" there explores everything; each property then shows its path.");
    model.keep_idle_steps();
    model.checker().serve(address);
    Ok(())
}
