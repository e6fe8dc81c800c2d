//! What doctor says about the bucket that segments of readings are kept in: whether it answers, and
//! whether a history is in it.

use super::Finding;
use crate::config::Config;

const CHECK: &str = "segments";

/// Looks at the bucket, if there is one.
pub(super) async fn segments(config: &Config, is_running: bool) -> Vec<Finding> {
    let bucket = match crate::stores::segments(config) {
        Ok(None) => return Vec::new(),
        Ok(Some(bucket)) => bucket,
        Err(error) => {
            let advice = "correct the section [objects] of the configuration";
            return vec![Finding::error(CHECK, format!("{error:#}"), advice)];
        }
    };
    let asked = veritwin_app::ask_segments(&bucket).await.map_err(|error| format!("{error:#}"));
    vec![finding(&config.objects.url, asked, is_running)]
}

fn finding(url: &str, asked: Result<bool, String>, is_running: bool) -> Finding {
    match asked {
        Ok(true) => Finding::ok(CHECK, format!("{url} answers and holds a history")),
        Ok(false) if is_running => Finding::error(
            CHECK,
            format!("{url} answers, and holds nothing of the platform that runs"),
            "compare objects.url with what the platform was started with; do not stop it before: \
             what it has in memory is in its log alone",
        ),
        Ok(false) => Finding::ok(CHECK, format!("{url} answers and is empty")),
        Err(error) => Finding::error(
            CHECK,
            format!("{url} does not answer: {error}"),
            "readings are taken meanwhile and stay in the log until memory is full; correct the \
             section [objects], or the rights of its key: s3:ListBucket, s3:GetObject, \
             s3:PutObject and s3:DeleteObject",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn each_answer_says_what_to_do() {
        let check = |asked: Result<bool, &str>, is_running: bool, expect: Level| {
            let finding = finding("s3://bucket/front", asked.map_err(str::to_owned), is_running);
            assert_eq!(finding.level, expect, "{asked:?}");
        };
        check(Ok(true), true, Level::Ok);
        check(Ok(false), true, Level::Error);
        check(Ok(false), false, Level::Ok);
        check(Err("refused"), false, Level::Error);
    }
}
