DROP TRIGGER `rollout_targets_added`;--> statement-breakpoint
DROP TRIGGER `rollout_targets_moved`;--> statement-breakpoint
CREATE TABLE `__new_rollout_history` (
	`id` integer PRIMARY KEY NOT NULL,
	`rollout` text NOT NULL,
	`device` text,
	`at` integer NOT NULL,
	`step` text,
	`from` text,
	`to` text,
	`code` text,
	`by` text,
	`approval` text,
	`approved_by` text,
	`reason` text,
	`details` text
);
--> statement-breakpoint
CREATE TABLE `__rollout_steps` (
	`turn` integer,
	`rollout` text,
	`at` integer,
	`step` text,
	`code` text,
	`by` text,
	`approval` text,
	`approved_by` text,
	`reason` text,
	`details` text
);
--> statement-breakpoint
INSERT INTO `__rollout_steps` SELECT
	`seq`,
	CASE
		WHEN json_extract(`record`, '$.object.type') = 'rollout' THEN json_extract(`record`, '$.object.id')
		WHEN json_extract(`record`, '$.action') = 'trust.publish' THEN (SELECT `id` FROM `rollouts`
			WHERE `kind` = 'trust-bundle' AND `to_version` = CAST(json_extract(`record`, '$.object.id') AS integer))
		ELSE json_extract(`record`, '$.details.rollout') END,
	CAST(round(unixepoch(json_extract(`record`, '$.time'), 'subsec') * 1000) AS integer),
	CASE json_extract(`record`, '$.action')
		WHEN 'keyset.rotate' THEN 'started'
		WHEN 'keyset.compromise' THEN 'started'
		WHEN 'trust.publish' THEN 'started'
		WHEN 'enrolment.campaign' THEN 'started'
		WHEN 'rollout.prepare' THEN 'prepared'
		WHEN 'rollout.wave-soaks' THEN 'wave-soaking'
		WHEN 'rollout.pause' THEN 'paused'
		WHEN 'rollout.resume' THEN 'resumed'
		WHEN 'rollout.retry' THEN 'retried'
		WHEN 'rollout.exempt' THEN 'exempted'
		WHEN 'rollout.sign-off' THEN 'signed-off'
		ELSE substr(json_extract(`record`, '$.action'), length('rollout.') + 1) END,
	json_extract(`record`, '$.code'),
	CASE json_extract(`record`, '$.actor.type') WHEN 'gateway' THEN 'the gateway' ELSE json_extract(`record`, '$.actor.id') END,
	json_extract(`record`, '$.approval.id'),
	coalesce(json_extract(`record`, '$.approval.approvers'), '[]'),
	json_extract(`record`, '$.details.reason'),
	coalesce(json_remove(json_extract(`record`, '$.details'), '$.reason', '$.rollout'), '{}')
	FROM `audit_records`
	WHERE json_extract(`record`, '$.outcome') = 'success' AND json_extract(`record`, '$.action') IN (
		'keyset.rotate', 'keyset.compromise', 'trust.publish', 'enrolment.campaign',
		'rollout.prepare', 'rollout.distributing', 'rollout.wave-soaks', 'rollout.wave-opened', 'rollout.ready', 'rollout.active',
		'rollout.pause', 'rollout.resume', 'rollout.retry', 'rollout.exempt', 'rollout.sign-off', 'rollout.stragglers',
		'rollout.retiring', 'rollout.retired', 'rollout.destroying', 'rollout.destroyed', 'rollout.completed',
		'rollout.aborted', 'rollout.superseded', 'rollout.compromised');
--> statement-breakpoint
INSERT INTO `__new_rollout_history` (`rollout`, `device`, `at`, `step`, `from`, `to`, `code`, `by`, `approval`, `approved_by`, `reason`, `details`)
	SELECT `rollout`, `device`, `at`, `step`, `from`, `to`, `code`, `by`, `approval`, `approved_by`, `reason`, `details` FROM (
		SELECT `rollout`, `device`, `at`, NULL AS `step`, `from`, `to`, `code`, NULL AS `by`, NULL AS `approval`,
			NULL AS `approved_by`, NULL AS `reason`, NULL AS `details`, 1 AS `place`, `id` AS `turn`
			FROM `rollout_history`
		UNION ALL SELECT `t`.`rollout`, `t`.`device`, `s`.`at`, `s`.`step`, `h`.`to`, `h`.`to`, `h`.`code`, `s`.`by`, `s`.`approval`,
			`s`.`approved_by`, `s`.`reason`, NULL, 2, `s`.`turn`
			FROM `__rollout_steps` AS `s`
			JOIN `rollout_targets` AS `t` ON `t`.`rollout` = `s`.`rollout` AND `t`.`signed_off` = `s`.`approval`
			JOIN `rollout_history` AS `h` ON `h`.`id` = (SELECT max(`id`) FROM `rollout_history`
				WHERE `device` = `t`.`device` AND `rollout` = `t`.`rollout` AND `at` <= `s`.`at`)
			WHERE `s`.`step` = 'signed-off'
		UNION ALL SELECT `rollout`, NULL, `at`, `step`, NULL, NULL, `code`, `by`, `approval`, `approved_by`, `reason`, `details`,
			CASE `step` WHEN 'started' THEN 0 ELSE 3 END, `turn`
			FROM `__rollout_steps` WHERE `rollout` IS NOT NULL
	) ORDER BY `at`, `place`, `turn`;
--> statement-breakpoint
DROP TABLE `rollout_history`;--> statement-breakpoint
DROP TABLE `__rollout_steps`;--> statement-breakpoint
ALTER TABLE `__new_rollout_history` RENAME TO `rollout_history`;--> statement-breakpoint
CREATE INDEX `rollout_history_by_rollout` ON `rollout_history` (`rollout`,`id`);--> statement-breakpoint
CREATE INDEX `rollout_history_by_device` ON `rollout_history` (`device`,`id`);--> statement-breakpoint
CREATE INDEX `rollout_history_of_rollout` ON `rollout_history` (`rollout`,`id`) WHERE device is null;--> statement-breakpoint
UPDATE `rollout_history` SET `step` = `s`.`step`, `by` = `s`.`by`, `approval` = `s`.`approval`, `approved_by` = `s`.`approved_by`, `reason` = `s`.`reason`
	FROM `rollout_history` AS `s`
	WHERE `s`.`device` IS NULL AND `s`.`rollout` = `rollout_history`.`rollout` AND `s`.`at` = `rollout_history`.`at`
	AND `rollout_history`.`device` IS NOT NULL AND `rollout_history`.`step` IS NULL
	AND (`s`.`step` = 'exempted' AND `rollout_history`.`to` = 'exempt'
		OR `s`.`step` = 'retried' AND `rollout_history`.`from` IN ('refused', 'stalled', 'overdue') AND `rollout_history`.`to` IN ('pending', 'stored'));
--> statement-breakpoint
CREATE TRIGGER `rollout_targets_added` AFTER INSERT ON `rollout_targets` BEGIN
	INSERT INTO `rollout_tallies` (`rollout`, `wave`, `service`, `state`, `online`, `deferred`, `old`, `targets`)
		VALUES (NEW.`rollout`, NEW.`wave`, NEW.`service`, NEW.`state`, NEW.`online`, NEW.`deferred_until` IS NOT NULL, NEW.`old`, 1)
		ON CONFLICT DO UPDATE SET `targets` = `targets` + 1;
	INSERT INTO `rollout_history` (`rollout`, `device`, `at`, `from`, `to`, `code`)
		VALUES (NEW.`rollout`, NEW.`device`, NEW.`changed_at`, NULL, NEW.`state`, NEW.`code`);
	UPDATE `rollout_targets` SET `online` = `s`.`connected`, `old` = `o`.`old`
		FROM `device_sync` AS `s`, `rollout_target_old` AS `o`
		WHERE `rollout_targets`.`rollout` = NEW.`rollout` AND `rollout_targets`.`device` = NEW.`device`
		AND `s`.`device` = NEW.`device` AND `o`.`rollout` = NEW.`rollout` AND `o`.`device` = NEW.`device`
		AND (`s`.`connected`, `o`.`old`) IS NOT (NEW.`online`, NEW.`old`);
END;
--> statement-breakpoint
CREATE TRIGGER `rollout_targets_moved` AFTER UPDATE OF `state`, `code`, `reason`, `signed_off` ON `rollout_targets`
WHEN (OLD.`state`, OLD.`code`, OLD.`reason`, OLD.`signed_off`) IS NOT (NEW.`state`, NEW.`code`, NEW.`reason`, NEW.`signed_off`) BEGIN
	INSERT INTO `rollout_history` (`rollout`, `device`, `at`, `from`, `to`, `code`)
		VALUES (NEW.`rollout`, NEW.`device`, NEW.`changed_at`, OLD.`state`, NEW.`state`, NEW.`code`);
END;
