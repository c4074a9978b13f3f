CREATE TABLE `alerts` (
	`id` integer PRIMARY KEY NOT NULL,
	`subject` text NOT NULL,
	`code` text NOT NULL,
	`severity` text NOT NULL,
	`device` text,
	`rollout` text,
	`key_set` text,
	`message` text NOT NULL,
	`first_seq` integer NOT NULL,
	`last_seq` integer NOT NULL,
	`occurrences` integer NOT NULL,
	`raised_at` integer NOT NULL,
	`last_at` integer NOT NULL,
	`acknowledged_at` integer,
	`acknowledged_by` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `alerts_open` ON `alerts` (`subject`) WHERE acknowledged_at is null;--> statement-breakpoint
CREATE INDEX `alerts_by_time` ON `alerts` (`raised_at`);--> statement-breakpoint
CREATE TABLE `rollout_history` (
	`id` integer PRIMARY KEY NOT NULL,
	`rollout` text NOT NULL,
	`device` text NOT NULL,
	`at` integer NOT NULL,
	`from` text,
	`to` text NOT NULL,
	`code` text
);
--> statement-breakpoint
CREATE INDEX `rollout_history_by_rollout` ON `rollout_history` (`rollout`,`id`);--> statement-breakpoint
CREATE INDEX `rollout_history_by_device` ON `rollout_history` (`device`,`id`);--> statement-breakpoint
CREATE TABLE `rollout_tallies` (
	`rollout` text NOT NULL,
	`wave` integer NOT NULL,
	`service` integer NOT NULL,
	`state` text NOT NULL,
	`online` integer NOT NULL,
	`deferred` integer NOT NULL,
	`old` text NOT NULL,
	`targets` integer NOT NULL,
	PRIMARY KEY(`rollout`, `wave`, `service`, `state`, `online`, `deferred`, `old`)
);
--> statement-breakpoint
PRAGMA foreign_keys=OFF;--> statement-breakpoint
CREATE TABLE `__new_authorities` (
	`key_label` text PRIMARY KEY NOT NULL,
	`role` text NOT NULL,
	`state` text NOT NULL,
	`certificate` blob,
	`created_at` integer NOT NULL,
	`changed_at` integer NOT NULL
);
--> statement-breakpoint
INSERT INTO `__new_authorities`("key_label", "role", "state", "certificate", "created_at", "changed_at") SELECT "key_label", "role", 'current', "certificate", "created_at", "created_at" FROM `authorities`;--> statement-breakpoint
DROP TABLE `authorities`;--> statement-breakpoint
ALTER TABLE `__new_authorities` RENAME TO `authorities`;--> statement-breakpoint
PRAGMA foreign_keys=ON;--> statement-breakpoint
CREATE INDEX `authorities_by_role` ON `authorities` (`role`,`state`);--> statement-breakpoint
CREATE TABLE `__new_rollouts` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`key_set` text,
	`from_version` integer,
	`to_version` integer,
	`campaign` text,
	`plan` text NOT NULL,
	`plan_sha256` text NOT NULL,
	`state` text NOT NULL,
	`start_at` integer NOT NULL,
	`prepared_at` integer,
	`wave` integer NOT NULL,
	`wave_opened_at` integer,
	`wave_settled_at` integer,
	`paused_at` integer,
	`paused_by` text,
	`pause_code` text,
	`pause_reason` text,
	`stragglers_at` integer,
	`requested_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`activated_at` integer,
	`retired_at` integer,
	`finished_at` integer
);
--> statement-breakpoint
INSERT INTO `__new_rollouts`("id", "kind", "key_set", "from_version", "to_version", "campaign", "plan", "plan_sha256", "state", "start_at", "prepared_at", "wave", "wave_opened_at", "wave_settled_at", "paused_at", "paused_by", "pause_code", "pause_reason", "stragglers_at", "requested_by", "created_at", "activated_at", "retired_at", "finished_at") SELECT "id", "kind", "key_set", "from_version", "to_version", NULL, '{"name":"default","waves":[{"name":"all","share":{"by":"rest"},"soakMs":0}],"success":0.9,"errors":0.1,"minimumSample":1,"quorum":1,"timeoutMs":600000,"retries":3,"windows":"respect","rate":null,"stragglers":{"action":"propose","afterMs":2592000000}}', 'cfa8d42175c49fd58cb435956bc613d6a76082cdc5ee3b6ed9bd0338e897cdd0', "state", "created_at", "created_at", 0, "created_at", NULL, NULL, NULL, NULL, NULL, NULL, "requested_by", "created_at", "activated_at", "retired_at", "finished_at" FROM `rollouts`;--> statement-breakpoint
DROP TABLE `rollouts`;--> statement-breakpoint
ALTER TABLE `__new_rollouts` RENAME TO `rollouts`;--> statement-breakpoint
CREATE INDEX `rollouts_by_key_set` ON `rollouts` (`key_set`,`finished_at`);--> statement-breakpoint
CREATE INDEX `rollouts_by_end` ON `rollouts` (`finished_at`,`created_at`);--> statement-breakpoint
CREATE INDEX `rollouts_by_kind` ON `rollouts` (`kind`,`state`,`to_version`);--> statement-breakpoint
ALTER TABLE `key_versions` ADD `compromised_at` integer;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `position` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `service` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `reason` text;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `attempts` integer DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `online` integer DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `old` text DEFAULT 'gone' NOT NULL;--> statement-breakpoint
ALTER TABLE `rollout_targets` ADD `signed_off` text;--> statement-breakpoint
CREATE INDEX `rollout_targets_by_device` ON `rollout_targets` (`device`,`rollout`);
--> statement-breakpoint
UPDATE `rollout_targets` SET `service` = 1 WHERE `device` IN (SELECT `id` FROM `devices` WHERE `class` = 'service');
--> statement-breakpoint
UPDATE `rollout_targets` SET `online` = 1 WHERE `device` IN (SELECT `device` FROM `device_sync` WHERE `connected` = 1);
--> statement-breakpoint
CREATE VIEW `rollout_target_old` AS SELECT `t`.`rollout` AS `rollout`, `t`.`device` AS `device`, CASE
	WHEN `t`.`signed_off` IS NOT NULL THEN 'waived'
	WHEN EXISTS (SELECT 1 FROM `device_key_versions` AS `k` WHERE `k`.`device` = `t`.`device` AND `k`.`key_set` = `r`.`key_set`
		AND `k`.`version` < `r`.`to_version` AND `k`.`state` IN ('offered', 'stored', 'active'))
		AND NOT EXISTS (SELECT 1 FROM `device_key_versions` AS `k` WHERE `k`.`device` = `t`.`device` AND `k`.`key_set` = `r`.`key_set`
		AND `k`.`version` >= `r`.`to_version` AND `k`.`state` = 'active') THEN 'in-use'
	WHEN EXISTS (SELECT 1 FROM `device_key_versions` AS `k` WHERE `k`.`device` = `t`.`device` AND `k`.`key_set` = `r`.`key_set`
		AND `k`.`version` < `r`.`to_version` AND `k`.`state` IN ('offered', 'stored', 'active', 'retired')) THEN 'held'
	ELSE 'gone' END AS `old`
	FROM `rollout_targets` AS `t` JOIN `rollouts` AS `r` ON `r`.`id` = `t`.`rollout`;
--> statement-breakpoint
UPDATE `rollout_targets` SET `old` = (SELECT `o`.`old` FROM `rollout_target_old` AS `o` WHERE `o`.`rollout` = `rollout_targets`.`rollout` AND `o`.`device` = `rollout_targets`.`device`);
--> statement-breakpoint
INSERT INTO `rollout_tallies` SELECT `rollout`, `wave`, `service`, `state`, `online`, `deferred_until` IS NOT NULL, `old`, count(*) FROM `rollout_targets` GROUP BY 1, 2, 3, 4, 5, 6, 7;
--> statement-breakpoint
INSERT INTO `rollout_history` (`rollout`, `device`, `at`, `from`, `to`, `code`) SELECT `rollout`, `device`, `changed_at`, NULL, `state`, `code` FROM `rollout_targets`;
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
CREATE TRIGGER `rollout_targets_counted` AFTER UPDATE OF `wave`, `service`, `state`, `online`, `deferred_until`, `old` ON `rollout_targets`
WHEN (OLD.`wave`, OLD.`service`, OLD.`state`, OLD.`online`, OLD.`deferred_until` IS NULL, OLD.`old`)
	IS NOT (NEW.`wave`, NEW.`service`, NEW.`state`, NEW.`online`, NEW.`deferred_until` IS NULL, NEW.`old`) BEGIN
	UPDATE `rollout_tallies` SET `targets` = `targets` - 1
		WHERE (`rollout`, `wave`, `service`, `state`, `online`, `deferred`, `old`)
			= (OLD.`rollout`, OLD.`wave`, OLD.`service`, OLD.`state`, OLD.`online`, OLD.`deferred_until` IS NOT NULL, OLD.`old`);
	INSERT INTO `rollout_tallies` (`rollout`, `wave`, `service`, `state`, `online`, `deferred`, `old`, `targets`)
		VALUES (NEW.`rollout`, NEW.`wave`, NEW.`service`, NEW.`state`, NEW.`online`, NEW.`deferred_until` IS NOT NULL, NEW.`old`, 1)
		ON CONFLICT DO UPDATE SET `targets` = `targets` + 1;
END;
--> statement-breakpoint
CREATE TRIGGER `rollout_targets_moved` AFTER UPDATE OF `state`, `code` ON `rollout_targets`
WHEN OLD.`state` <> NEW.`state` OR OLD.`code` IS NOT NEW.`code` BEGIN
	INSERT INTO `rollout_history` (`rollout`, `device`, `at`, `from`, `to`, `code`)
		VALUES (NEW.`rollout`, NEW.`device`, NEW.`changed_at`, OLD.`state`, NEW.`state`, NEW.`code`);
END;
--> statement-breakpoint
CREATE TRIGGER `rollout_targets_removed` AFTER DELETE ON `rollout_targets` BEGIN
	UPDATE `rollout_tallies` SET `targets` = `targets` - 1
		WHERE (`rollout`, `wave`, `service`, `state`, `online`, `deferred`, `old`)
			= (OLD.`rollout`, OLD.`wave`, OLD.`service`, OLD.`state`, OLD.`online`, OLD.`deferred_until` IS NOT NULL, OLD.`old`);
END;
--> statement-breakpoint
CREATE TRIGGER `device_sync_online` AFTER UPDATE OF `connected` ON `device_sync` WHEN OLD.`connected` <> NEW.`connected` BEGIN
	UPDATE `rollout_targets` SET `online` = NEW.`connected` WHERE `device` = NEW.`device`
		AND `rollout` IN (SELECT `id` FROM `rollouts` WHERE `finished_at` IS NULL);
END;
--> statement-breakpoint
CREATE TRIGGER `device_key_versions_added` AFTER INSERT ON `device_key_versions` BEGIN
	UPDATE `rollout_targets` SET `old` = `o`.`old` FROM `rollout_target_old` AS `o`
		WHERE `rollout_targets`.`device` = NEW.`device` AND `rollout_targets`.`rollout` IN
			(SELECT `id` FROM `rollouts` WHERE `key_set` = NEW.`key_set` AND `finished_at` IS NULL)
		AND `o`.`rollout` = `rollout_targets`.`rollout` AND `o`.`device` = `rollout_targets`.`device` AND `o`.`old` <> `rollout_targets`.`old`;
END;
--> statement-breakpoint
CREATE TRIGGER `device_key_versions_changed` AFTER UPDATE OF `state` ON `device_key_versions` WHEN OLD.`state` <> NEW.`state` BEGIN
	UPDATE `rollout_targets` SET `old` = `o`.`old` FROM `rollout_target_old` AS `o`
		WHERE `rollout_targets`.`device` = NEW.`device` AND `rollout_targets`.`rollout` IN
			(SELECT `id` FROM `rollouts` WHERE `key_set` = NEW.`key_set` AND `finished_at` IS NULL)
		AND `o`.`rollout` = `rollout_targets`.`rollout` AND `o`.`device` = `rollout_targets`.`device` AND `o`.`old` <> `rollout_targets`.`old`;
END;
--> statement-breakpoint
CREATE TRIGGER `device_key_versions_removed` AFTER DELETE ON `device_key_versions` BEGIN
	UPDATE `rollout_targets` SET `old` = `o`.`old` FROM `rollout_target_old` AS `o`
		WHERE `rollout_targets`.`device` = OLD.`device` AND `rollout_targets`.`rollout` IN
			(SELECT `id` FROM `rollouts` WHERE `key_set` = OLD.`key_set` AND `finished_at` IS NULL)
		AND `o`.`rollout` = `rollout_targets`.`rollout` AND `o`.`device` = `rollout_targets`.`device` AND `o`.`old` <> `rollout_targets`.`old`;
END;
--> statement-breakpoint
CREATE TRIGGER `rollout_targets_signed_off` AFTER UPDATE OF `signed_off` ON `rollout_targets` WHEN OLD.`signed_off` IS NOT NEW.`signed_off` BEGIN
	UPDATE `rollout_targets` SET `old` = `o`.`old` FROM `rollout_target_old` AS `o`
		WHERE `rollout_targets`.`rollout` = NEW.`rollout` AND `rollout_targets`.`device` = NEW.`device`
		AND `o`.`rollout` = NEW.`rollout` AND `o`.`device` = NEW.`device`;
END;
