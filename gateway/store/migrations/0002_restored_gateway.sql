ALTER TABLE `device_sync` ADD `reported_from` text DEFAULT '[]' NOT NULL;--> statement-breakpoint
ALTER TABLE `device_sync` ADD `unexpected` text;