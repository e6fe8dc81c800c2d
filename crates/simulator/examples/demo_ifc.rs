//! Writes the demo building to the file named on the command line: its IFC, or with `--inventory`
//! its devices.

use std::io::Write as _;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (text, target) = match arguments.next().as_deref() {
        Some("--inventory") => (veritwin_simulator::building::inventory_csv(), arguments.next()),
        Some(path) => (veritwin_simulator::building::demo_ifc(), Some(path.to_owned())),
        None => (veritwin_simulator::building::demo_ifc(), None),
    };
    match target {
        Some(path) => std::fs::write(path, text)?,
        None => std::io::stdout().write_all(text.as_bytes())?,
    }
    Ok(())
}
