//! `session ls` and `session show`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axocoatl_isolation::Size;
use axocoatl_isolation::sessions::{Metrics, Record, SessionTier, State};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::{Failed, session, sessions};
use crate::exit::Exit;
use crate::printer::Printer;

pub(super) async fn list(printer: &Printer) -> Result<Exit, Failed> {
    let (found, damaged) = sessions()?.list().await?;
    let records: Vec<Record> = found.iter().map(|session| session.record()).collect();
    printer.result(
        || {
            json!({
                "sessions": records.iter().map(json).collect::<Vec<_>>(),
                "damaged": damaged.iter().map(|d| json!({"id": d.id.as_str(), "error": d.error.to_string()})).collect::<Vec<_>>(),
            })
        },
        || {
            let mut table = Table::new();
            table
                .load_style(presets::NOTHING)
                .set_header(["NAME", "ID", "STATE", "TIER", "IMAGE", "AGE", "DIRECTORY"]);
            for record in &records {
                let directory = record.directory.as_ref();
                table.add_row([
                    record.called().to_owned(),
                    record.id.to_string(),
                    cut(state(record)),
                    record.tier.to_string(),
                    record.image.clone(),
                    age(record),
                    directory.map_or_else(|| "-".into(), |d| d.display().to_string()),
                ]);
            }
            table.trim_fmt()
        },
    );
    for damaged in &damaged {
        printer.problem(&damaged.error);
    }
    Ok(match damaged.is_empty() {
        true => Exit::Success,
        false => Exit::Unwell,
    })
}

pub(super) async fn show(name: &str, printer: &Printer) -> Result<Exit, Failed> {
    let session = session(name).await?;
    let record = session.record();
    let metrics = match record.state {
        State::Ready => Some(session.metrics().await?),
        _ => None,
    };
    printer.result(
        || {
            let mut shown = json(&record);
            shown["metrics"] = metrics.as_ref().map_or(Value::Null, metrics_json);
            shown
        },
        || text(&record, metrics.as_ref()),
    );
    Ok(Exit::Success)
}

/// A session for machines: its record, whose field names are stable.
pub(super) fn json(record: &Record) -> Value {
    let mut shown = serde_json::to_value(record).unwrap_or(Value::Null);
    shown["called"] = json!(record.called());
    shown["container"] = json!(record.id.container());
    shown
}

fn metrics_json(m: &Metrics) -> Value {
    json!({
        "processes_running": m.running,
        "processes_ended": m.ended,
        "tasks": m.tasks,
        "memory_bytes": m.memory,
        "peak_memory_bytes": m.peak_memory,
        "memory_limit_bytes": m.memory_limit,
        "cpu_micros": m.cpu_micros,
        "uptime_millis": m.uptime_millis,
        "connections": m.connections,
        "retained_bytes": m.retained,
    })
}

fn state(record: &Record) -> String {
    match &record.why {
        Some(why) if record.state.is_end() => format!("{}: {why}", record.state),
        _ => record.state.to_string(),
    }
}

/// Fit for a column; `session show` has all of it.
fn cut(text: String) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn age(record: &Record) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let seconds = now.saturating_sub(record.created);
    // Two units are enough.
    let rounded = match seconds {
        0..3600 => seconds,
        3600..86_400 => seconds / 60 * 60,
        _ => seconds / 3600 * 3600,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}

fn text(record: &Record, metrics: Option<&Metrics>) -> String {
    let size = |bytes: u64| Size::from_bytes(bytes).to_string();
    let time = |seconds: u64| humantime::format_duration(Duration::from_secs(seconds)).to_string();
    let mut lines = vec![
        ("name", record.called().to_owned()),
        ("id", record.id.to_string()),
        ("state", state(record)),
        ("age", age(record)),
        (
            "image",
            format!("{} ({})", record.image, record.image_digest),
        ),
        ("tier", record.tier.to_string()),
        ("profile", record.profile.to_string()),
        ("network", record.network.to_string()),
    ];
    if let Some(directory) = &record.directory {
        let copy = match record.tier {
            SessionTier::Podman => "",
            SessionTier::MicroVm => " (a copy)",
        };
        lines.push(("directory", format!("{}{copy}", directory.display())));
    }
    lines.extend(record.ports.iter().map(|port| ("port", port.to_string())));
    let limits = &record.limits;
    lines.push((
        "limits",
        format!(
            "memory {}, {} cores, {} processes, {} files, scratch {}, idle {}, total {}",
            size(limits.memory),
            limits.cpu,
            limits.pids,
            limits.files,
            size(limits.scratch),
            time(limits.idle),
            time(limits.total)
        ),
    ));
    lines.extend(
        record
            .labels
            .iter()
            .map(|(k, v)| ("label", format!("{k}={v}"))),
    );
    if let Some(m) = metrics {
        let or_unknown = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), size);
        lines.push((
            "uses",
            format!(
                "{} processes of ours, memory {} (at most {}), retained output {}",
                m.running,
                or_unknown(m.memory),
                or_unknown(m.peak_memory),
                size(m.retained)
            ),
        ));
    }
    lines
        .iter()
        .map(|(name, value)| format!("{name:<10} {value}\n"))
        .collect()
}
