-- A write that could not be recorded first does not happen any more, so that no former holder has anything to report.
DROP TABLE @.report;
