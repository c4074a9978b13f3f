CREATE TABLE `approvals` (
	`id` text PRIMARY KEY NOT NULL,
	`action` text NOT NULL,
	`summary` text NOT NULL,
	`request` text NOT NULL,
	`sha256` text NOT NULL,
	`requester` text NOT NULL,
	`state` text NOT NULL,
	`approver` text,
	`created_at` integer NOT NULL,
	`expires_at` integer NOT NULL,
	`decided_at` integer,
	`result` text
);
--> statement-breakpoint
CREATE INDEX `approvals_by_state` ON `approvals` (`state`,`created_at`);--> statement-breakpoint
CREATE TABLE `audit_checkpoints` (
	`seq` integer PRIMARY KEY NOT NULL,
	`cms` blob NOT NULL,
	`sha256` text NOT NULL,
	`created_at` integer NOT NULL,
	FOREIGN KEY (`seq`) REFERENCES `audit_records`(`seq`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `audit_records` (
	`seq` integer PRIMARY KEY NOT NULL,
	`hash` text NOT NULL,
	`record` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `authorities` (
	`role` text PRIMARY KEY NOT NULL,
	`key_label` text NOT NULL,
	`certificate` blob NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `certificates` (
	`serial` text PRIMARY KEY NOT NULL,
	`device` text NOT NULL,
	`issuer` text NOT NULL,
	`state` text NOT NULL,
	`csr_sha256` text NOT NULL,
	`spki_sha256` text NOT NULL,
	`fingerprint` text,
	`tbs` blob NOT NULL,
	`der` blob,
	`not_before` integer NOT NULL,
	`not_after` integer NOT NULL,
	`fresh_start` integer NOT NULL,
	`created_at` integer NOT NULL,
	`revoked_at` integer,
	`revocation_reason` text,
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `certificates_by_device` ON `certificates` (`device`,`created_at`);--> statement-breakpoint
CREATE UNIQUE INDEX `certificates_by_fingerprint` ON `certificates` (`fingerprint`);--> statement-breakpoint
CREATE INDEX `certificates_by_csr` ON `certificates` (`csr_sha256`,`device`);--> statement-breakpoint
CREATE INDEX `certificates_by_state` ON `certificates` (`state`);--> statement-breakpoint
CREATE TABLE `crls` (
	`number` integer PRIMARY KEY NOT NULL,
	`der` blob NOT NULL,
	`this_update` integer NOT NULL,
	`next_update` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `device_key_versions` (
	`device` text NOT NULL,
	`key_set` text NOT NULL,
	`version` integer NOT NULL,
	`state` text NOT NULL,
	`kcv` text,
	`changed_at` integer NOT NULL,
	PRIMARY KEY(`device`, `key_set`, `version`),
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `device_key_versions_by_version` ON `device_key_versions` (`key_set`,`version`,`state`);--> statement-breakpoint
CREATE TABLE `device_public_keys` (
	`spki_sha256` text PRIMARY KEY NOT NULL,
	`device` text NOT NULL,
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `device_sync` (
	`device` text PRIMARY KEY NOT NULL,
	`connected` integer NOT NULL,
	`address` text,
	`last_seen_at` integer,
	`seq` integer NOT NULL,
	`last_seq` integer NOT NULL,
	`counter` integer NOT NULL,
	`digest` text,
	`nonce` text,
	`nonce_answered` integer NOT NULL,
	`clock_trusted` integer NOT NULL,
	`boots` text NOT NULL,
	`trust_version` integer NOT NULL,
	`agent_version` text,
	`last_report_at` integer,
	`due_at` integer,
	`attempts` integer NOT NULL,
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `device_sync_due` ON `device_sync` (`connected`,`due_at`);--> statement-breakpoint
CREATE INDEX `device_sync_connected` ON `device_sync` (`connected`,`device`);--> statement-breakpoint
CREATE TABLE `devices` (
	`id` text PRIMARY KEY NOT NULL,
	`class` text NOT NULL,
	`site` text NOT NULL,
	`serial_number` text NOT NULL,
	`labels` text NOT NULL,
	`state` text NOT NULL,
	`state_code` text,
	`state_since` integer NOT NULL,
	`created_at` integer NOT NULL,
	`current_serial` text,
	`next_serial` text
);
--> statement-breakpoint
CREATE INDEX `devices_by_class` ON `devices` (`class`,`id`);--> statement-breakpoint
CREATE INDEX `devices_by_site` ON `devices` (`site`,`id`);--> statement-breakpoint
CREATE INDEX `devices_by_state` ON `devices` (`state`,`id`);--> statement-breakpoint
CREATE TABLE `enrolment_requests` (
	`id` text PRIMARY KEY NOT NULL,
	`csr_sha256` text NOT NULL,
	`csr` blob NOT NULL,
	`device` text,
	`reason` text NOT NULL,
	`source` text,
	`state` text NOT NULL,
	`requested_at` integer NOT NULL,
	`decided_at` integer,
	`decided_by` text
);
--> statement-breakpoint
CREATE UNIQUE INDEX `enrolment_requests_by_csr` ON `enrolment_requests` (`csr_sha256`);--> statement-breakpoint
CREATE INDEX `enrolment_requests_by_state` ON `enrolment_requests` (`state`,`requested_at`);--> statement-breakpoint
CREATE TABLE `key_sets` (
	`name` text PRIMARY KEY NOT NULL,
	`algorithm` text NOT NULL,
	`use` text NOT NULL,
	`scope` text NOT NULL,
	`selector` text NOT NULL,
	`cryptoperiod` integer NOT NULL,
	`revision` integer NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `key_versions` (
	`key_set` text NOT NULL,
	`version` integer NOT NULL,
	`state` text NOT NULL,
	`retired_at` integer,
	`wrapped` blob,
	`kek` text NOT NULL,
	`kcv` text NOT NULL,
	`created_at` integer NOT NULL,
	`activated_at` integer,
	`deactivated_at` integer,
	`destroyed_at` integer,
	PRIMARY KEY(`key_set`, `version`),
	FOREIGN KEY (`key_set`) REFERENCES `key_sets`(`name`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE TABLE `meta` (
	`key` text PRIMARY KEY NOT NULL,
	`value` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `operators` (
	`name` text PRIMARY KEY NOT NULL,
	`role` text NOT NULL,
	`token_hash` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL
);
--> statement-breakpoint
CREATE UNIQUE INDEX `operators_token_hash_unique` ON `operators` (`token_hash`);--> statement-breakpoint
CREATE TABLE `policies` (
	`version` integer PRIMARY KEY NOT NULL,
	`document` text NOT NULL,
	`sha256` text NOT NULL,
	`applied_at` integer NOT NULL,
	`applied_by` text NOT NULL
);
--> statement-breakpoint
CREATE TABLE `rollout_targets` (
	`rollout` text NOT NULL,
	`device` text NOT NULL,
	`wave` integer NOT NULL,
	`state` text NOT NULL,
	`code` text,
	`deferred_until` integer,
	`offered_at` integer,
	`changed_at` integer NOT NULL,
	PRIMARY KEY(`rollout`, `device`),
	FOREIGN KEY (`rollout`) REFERENCES `rollouts`(`id`) ON UPDATE no action ON DELETE no action,
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `rollout_targets_by_state` ON `rollout_targets` (`rollout`,`state`,`device`);--> statement-breakpoint
CREATE TABLE `rollouts` (
	`id` text PRIMARY KEY NOT NULL,
	`kind` text NOT NULL,
	`key_set` text NOT NULL,
	`from_version` integer NOT NULL,
	`to_version` integer NOT NULL,
	`state` text NOT NULL,
	`requested_by` text NOT NULL,
	`created_at` integer NOT NULL,
	`activated_at` integer,
	`retired_at` integer,
	`finished_at` integer
);
--> statement-breakpoint
CREATE INDEX `rollouts_by_key_set` ON `rollouts` (`key_set`,`finished_at`);--> statement-breakpoint
CREATE TABLE `tickets` (
	`id` text PRIMARY KEY NOT NULL,
	`device` text NOT NULL,
	`salt` text NOT NULL,
	`code_hash` text NOT NULL,
	`created_at` integer NOT NULL,
	`created_by` text NOT NULL,
	`expires_at` integer NOT NULL,
	`consumed_at` integer,
	`consumed_csr` text,
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
--> statement-breakpoint
CREATE INDEX `tickets_by_device` ON `tickets` (`device`,`created_at`);--> statement-breakpoint
CREATE TABLE `trust_bundles` (
	`version` integer PRIMARY KEY NOT NULL,
	`der` blob NOT NULL,
	`sha256` text NOT NULL,
	`body` text NOT NULL,
	`issued_at` integer NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `updates` (
	`device` text NOT NULL,
	`seq` integer NOT NULL,
	`sha256` text NOT NULL,
	`issued_at` integer NOT NULL,
	PRIMARY KEY(`device`, `seq`),
	FOREIGN KEY (`device`) REFERENCES `devices`(`id`) ON UPDATE no action ON DELETE no action
);
