//! `init`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use super::Failure;
use super::args::InitArgs;
use crate::console::{Console, Level};
use crate::exit::{Condition, Exit};
use crate::manifest;

pub(super) fn init(args: &InitArgs, console: &Console) -> Result<Exit, Failure> {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("manifests").join(format!("{}.yaml", folder_name())));
    let name = name_of(path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| Failure::unwritable(&path, &error))?;
    }
    let mut file = match fs::OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(Condition::Usage, format!("{} exists and is left as it is", path.display()))
                .with_help("name another file: didit-sync init PATH"));
        }
        Err(error) => return Err(Failure::unwritable(&path, &error)),
    };
    file.write_all(manifest::starter(&name).as_bytes()).map_err(|error| Failure::unwritable(&path, &error))?;
    console.out(&format!("{}\n", path.display()));
    console.say(Level::Info, &format!("Fill it in, then: didit-sync validate {}", path.display()));
    Ok(Exit::ok())
}

fn folder_name() -> String {
    let folder = std::env::current_dir().ok();
    let name = folder.as_deref().and_then(|folder| folder.file_name()).and_then(|name| name.to_str());
    name_of(name.unwrap_or_default())
}

/// A manifest's name made of any text: `[a-z0-9][a-z0-9-]{0,62}`.
fn name_of(text: &str) -> String {
    let mut name = String::new();
    for c in text.to_ascii_lowercase().chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    name.truncate(63);
    let name = name.trim_end_matches('-');
    if name.is_empty() { "imports".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::name_of;

    #[test]
    fn any_text_makes_a_name() {
        for (text, name) in [("Acme 2026 Q4", "acme-2026-q4"), ("--", "imports"), ("_x_", "x"), ("ä", "imports")] {
            assert_eq!(name_of(text), name);
        }
        assert_eq!(name_of(&"a".repeat(80)).len(), 63);
    }
}
